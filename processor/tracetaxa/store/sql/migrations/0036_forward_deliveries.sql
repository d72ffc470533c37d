-- What a destination has of a trace: which spans, and which labels (each by a hash, forward_events_mv) as attributes or as
-- carrier spans. Refused: the destination said never to send it again.
CREATE TABLE IF NOT EXISTS forward_deliveries
(
    Destination LowCardinality(String),
    TraceId String CODEC(ZSTD(1)),
    Revision UInt32,
    Outcome Enum8('sent' = 1, 'refused' = 2),
    SpanIds Array(FixedString(8)) CODEC(ZSTD(1)),
    Labels Array(UInt64) CODEC(ZSTD(1)),
    DeliveredAt DateTime64(9) DEFAULT now64(9) CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(DeliveredAt)
ORDER BY (Destination, TraceId)
TTL toDateTime(DeliveredAt) + toIntervalDay({retention_days:UInt16})
SETTINGS index_granularity = 256, ttl_only_drop_parts = 1
