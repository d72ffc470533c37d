-- Every label ever given.
CREATE TABLE IF NOT EXISTS trace_labels
(
    Analysis LowCardinality(String),
    RunId String,
    TaxonomyVersion UInt32,
    TraceId String CODEC(ZSTD(1)),
    Revision UInt32,
    TraceStart DateTime64(9) CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String),
    SessionId String CODEC(ZSTD(1)),
    CategoryId LowCardinality(String),
    Category LowCardinality(String),
    SubcategoryId LowCardinality(String),
    Subcategory LowCardinality(String),
    Confidence Float64,
    Labeller Enum8('human' = 1, 'llm' = 2, 'local' = 3, 'distilled' = 4),
    ClassifierVersion LowCardinality(String),
    Reason String CODEC(ZSTD(1)),
    Evidence String CODEC(ZSTD(1)),
    EvidenceSpanId String CODEC(ZSTD(1)),
    Attributes Map(LowCardinality(String), String),
    LabelledAt DateTime64(9)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(TraceStart)
ORDER BY (Analysis, TraceId, LabelledAt)
TTL toDateTime(TraceStart) + toIntervalDay({retention_days:UInt16})
