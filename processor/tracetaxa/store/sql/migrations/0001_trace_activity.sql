-- Arrival times: one row per insert and trace, so that closed traces are found without reading spans.
CREATE TABLE IF NOT EXISTS trace_activity
(
    SeenAt DateTime64(9) CODEC(DoubleDelta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    HasRoot Bool,
    HasRemoteParent Bool DEFAULT false
)
ENGINE = MergeTree
PARTITION BY toDate(SeenAt)
ORDER BY SeenAt
TTL toDateTime(SeenAt) + toIntervalDay({retention_days:UInt16})
SETTINGS ttl_only_drop_parts = 1
