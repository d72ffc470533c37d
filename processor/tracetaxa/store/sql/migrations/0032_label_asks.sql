-- What asking a model about traces that a classifier was unsure of has come to.
CREATE TABLE IF NOT EXISTS label_asks
(
    Analysis LowCardinality(String),
    RunId String,
    ClassifierVersion String,
    Traces UInt32,
    Labelled UInt32,
    InputTokens UInt64,
    OutputTokens UInt64,
    CostUsd Nullable(Float64),
    AskedAt DateTime64(9)
)
ENGINE = MergeTree
ORDER BY (Analysis, AskedAt)
TTL toDateTime(AskedAt) + toIntervalDay({retention_days:UInt16})
