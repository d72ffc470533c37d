-- What people, models and programs think of traces, spans and sessions. A FeedbackId belongs to one target, so
-- FINAL leaves one row of it: the newest. No partitions, since an update may be of another day.
CREATE TABLE IF NOT EXISTS feedback
(
    FeedbackId String CODEC(ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SessionId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    Name LowCardinality(String),
    Score Nullable(Float64),
    Label String CODEC(ZSTD(1)),
    Comment String CODEC(ZSTD(3)),
    Annotator LowCardinality(String),
    Source LowCardinality(String),
    GivenAt DateTime64(9) CODEC(Delta, ZSTD(1)),
    INDEX idx_session SessionId TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(GivenAt)
ORDER BY (TraceId, FeedbackId)
TTL toDateTime(GivenAt) + toIntervalDay({retention_days:UInt16})
