CREATE TABLE IF NOT EXISTS taxonomies
(
    Analysis LowCardinality(String),
    TaxonomyVersion UInt32,
    RunId String,
    CategoryId LowCardinality(String),
    ParentId LowCardinality(String),
    Level UInt8,
    Name String,
    Description String,
    Event Enum8('new' = 1, 'kept' = 2, 'renamed' = 3, 'split' = 4, 'merged' = 5, 'retired' = 6),
    FromIds Array(String),
    CreatedAt DateTime64(9)
)
ENGINE = ReplacingMergeTree(CreatedAt)
ORDER BY (Analysis, TaxonomyVersion, CategoryId)
