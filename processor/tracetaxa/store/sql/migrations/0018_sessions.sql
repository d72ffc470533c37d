-- The columns of traces, over all traces of a session; TraceId is the first of them. LastSeen is when the newest
-- trace revision that the row holds was written. It stays as long as the last of its traces.
CREATE TABLE IF NOT EXISTS sessions
(
    TraceId String CODEC(ZSTD(1)),
    Revision UInt32,
    SessionId String CODEC(ZSTD(1)),
    UserId String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String),
    RootName LowCardinality(String),
    Start DateTime64(9) CODEC(Delta, ZSTD(1)),
    End DateTime64(9) CODEC(Delta, ZSTD(1)),
    DurationMs Float64,
    SpanCount UInt32,
    ErrorCount UInt32,
    Status LowCardinality(String),
    IsAgent Bool,
    LlmCalls UInt32,
    ToolCalls UInt32,
    Tools Array(LowCardinality(String)),
    Models Array(LowCardinality(String)),
    LastToolBeforeError LowCardinality(String),
    InputTokens UInt64,
    OutputTokens UInt64,
    CostUsd Nullable(Float64),
    Feedback Map(String, Float64),
    Input String CODEC(ZSTD(3)),
    Output String CODEC(ZSTD(3)),
    Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    DigestKinds Array(LowCardinality(String)),
    DigestTexts Array(String) CODEC(ZSTD(3)),
    DigestSpanIds Array(String) CODEC(ZSTD(1)),
    LastSeen DateTime64(9),
    TraceIds Array(String) CODEC(ZSTD(1)),
    INDEX idx_start Start TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(Revision)
ORDER BY SessionId
TTL toDateTime(End) + toIntervalDay({retention_days:UInt16})
