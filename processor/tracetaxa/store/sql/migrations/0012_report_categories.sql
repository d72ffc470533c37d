CREATE TABLE IF NOT EXISTS report_categories
(
    RunId String,
    Analysis LowCardinality(String),
    WindowStart DateTime64(9),
    WindowEnd DateTime64(9),
    CategoryId LowCardinality(String),
    ParentId LowCardinality(String),
    Level UInt8,
    Name String,
    Traces UInt64,
    Sampled UInt64,
    Share Float64,
    ShareLow Float64,
    ShareHigh Float64,
    ErrorRate Float64,
    ErrorRateLow Float64,
    ErrorRateHigh Float64,
    P50Ms Float64,
    P95Ms Float64,
    InputTokens UInt64,
    OutputTokens UInt64,
    CostUsd Nullable(Float64),
    CostLow Nullable(Float64),
    CostHigh Nullable(Float64),
    Feedback Map(String, Float64)
)
ENGINE = ReplacingMergeTree
ORDER BY (Analysis, RunId, CategoryId)
