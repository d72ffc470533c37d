-- What became of each scheduled time. Status is since (a schedule was seen for the first time: nothing earlier is
-- made up for), or of its run; Settled: nothing more is done about this time.
CREATE TABLE IF NOT EXISTS scheduled_runs
(
    Analysis LowCardinality(String),
    Schedule LowCardinality(String),
    ScheduledFor DateTime64(9),
    Status LowCardinality(String),
    Settled Bool,
    RunId String,
    Error String,
    Instance LowCardinality(String),
    At DateTime64(9)
)
ENGINE = MergeTree
ORDER BY (Analysis, ScheduledFor, At)
