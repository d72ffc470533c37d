-- Up to which arrival each trace is assembled, in the order of writing: what is new in trace_activity is found
-- without reading traces. A trace that nothing is left of has a row here and none there.
CREATE TABLE IF NOT EXISTS trace_revisions
(
    WrittenAt DateTime64(9) DEFAULT now64(9) CODEC(DoubleDelta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    Revision UInt32,
    LastSeen DateTime64(9) CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(WrittenAt)
ORDER BY WrittenAt
TTL toDateTime(WrittenAt) + toIntervalDay({retention_days:UInt16})
SETTINGS ttl_only_drop_parts = 1
