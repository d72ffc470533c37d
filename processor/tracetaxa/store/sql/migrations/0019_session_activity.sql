-- When something was added to a session (SeenAt), and until when the spans in it arrived (LastSeen; 1970 when it
-- has none): finds sessions to assemble without reading traces.
CREATE TABLE IF NOT EXISTS session_activity
(
    SeenAt DateTime64(9) CODEC(DoubleDelta, ZSTD(1)),
    SessionId String CODEC(ZSTD(1)),
    LastSeen DateTime64(9) CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(SeenAt)
ORDER BY SeenAt
TTL toDateTime(SeenAt) + toIntervalDay({retention_days:UInt16})
SETTINGS ttl_only_drop_parts = 1
