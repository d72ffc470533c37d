-- Spans as they came, until they are sent on (docs/forwarding.md): one row a span, with what its request said beside its
-- spans, byte for byte. Read by trace, and a few traces at a time, hence the small granules. Partitions are dropped when
-- all in them is delivered, or too old.
CREATE TABLE IF NOT EXISTS forward_spool
(
    WrittenAt DateTime64(9) DEFAULT now64(9) CODEC(DoubleDelta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId FixedString(8) CODEC(ZSTD(1)),
    ParentSpanId FixedString(8) CODEC(ZSTD(1)),
    Bytes UInt32 DEFAULT length(Span),
    Span String CODEC(ZSTD(1)),
    Resource LowCardinality(String) CODEC(ZSTD(1)),
    Scope LowCardinality(String) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toStartOfFifteenMinutes(WrittenAt)
ORDER BY (TraceId, SpanId)
TTL toDateTime(WrittenAt) + toIntervalDay({retention_days:UInt16})
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1
