-- How far a classifier has come: of the traces that there were when it began, in the order of their ids (RestUpTo,
-- RestDone), and of those that closed since, in the order in which they were written (LiveUpTo).
CREATE TABLE IF NOT EXISTS label_progress
(
    Analysis LowCardinality(String),
    ClassifierVersion String,
    RestUpTo String,
    RestDone Bool,
    LiveUpTo DateTime64(9),
    UpdatedAt DateTime64(9)
)
ENGINE = ReplacingMergeTree(UpdatedAt)
ORDER BY (Analysis, ClassifierVersion)
TTL toDateTime(UpdatedAt) + toIntervalDay({retention_days:UInt16})
