-- Classifiers that learned from a run's labels, as data (base64 of the archive of label/archive.py); Error says why a
-- run gave none; Estimated, whether the run's report has been combined with its predictions, or can't be. UsedAt is renewed while one is in use, so that the retention takes only those that are not.
CREATE TABLE IF NOT EXISTS classifiers
(
    Analysis LowCardinality(String),
    ClassifierVersion String,
    RunId String,
    TaxonomyVersion UInt32,
    FeatureVersion LowCardinality(String),
    Embedding LowCardinality(String),
    Learned UInt32,
    Quality Map(LowCardinality(String), Float64),
    Archive String CODEC(ZSTD(1)),
    Error String,
    Estimated Bool,
    CreatedAt DateTime64(9),
    UsedAt DateTime64(9)
)
ENGINE = ReplacingMergeTree(UsedAt)
ORDER BY (Analysis, RunId, ClassifierVersion)
TTL toDateTime(UsedAt) + toIntervalDay({retention_days:UInt16})
