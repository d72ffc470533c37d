-- Traces that a run labelled twice, with both answers.
CREATE TABLE IF NOT EXISTS run_audits
(
    RunId String,
    Analysis LowCardinality(String),
    TraceId String CODEC(ZSTD(1)),
    TraceStart DateTime64(9) CODEC(Delta, ZSTD(1)),
    CategoryId LowCardinality(String),
    SubcategoryId LowCardinality(String),
    StatedConfidence Float64,
    SecondCategoryId LowCardinality(String),
    SecondSubcategoryId LowCardinality(String),
    SecondStatedConfidence Float64,
    SecondAbstained Bool,
    SecondReason String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (RunId, TraceId)
TTL toDateTime(TraceStart) + toIntervalDay({retention_days:UInt16})
