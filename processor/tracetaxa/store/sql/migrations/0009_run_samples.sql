CREATE TABLE IF NOT EXISTS run_samples
(
    RunId String,
    TraceId String CODEC(ZSTD(1)),
    Stratum LowCardinality(String),
    InclusionProbability Float64,
    Weight Float64
)
ENGINE = ReplacingMergeTree
ORDER BY (RunId, TraceId)
