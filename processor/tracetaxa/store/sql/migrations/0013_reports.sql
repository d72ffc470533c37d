CREATE TABLE IF NOT EXISTS reports
(
    RunId String,
    Analysis LowCardinality(String),
    Title String,
    Summary String,
    KeyPoints Array(String),
    Document String CODEC(ZSTD(3)),
    CreatedAt DateTime64(9)
)
ENGINE = ReplacingMergeTree(CreatedAt)
ORDER BY (Analysis, RunId)
