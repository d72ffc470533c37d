-- Whose turn it is to run an analysis, where several processes share a server. ClickHouse has no compare-and-set:
-- the rows are claims, and everybody tells the winner from them by the same rule (lease_holders.sql). LeaseMs: how
-- long after this row its process counts as gone.
CREATE TABLE IF NOT EXISTS run_leases
(
    Analysis LowCardinality(String),
    Holder String,
    Event Enum8('claimed' = 1, 'held' = 2, 'released' = 3),
    LeaseMs UInt32,
    At DateTime64(9)
)
ENGINE = MergeTree
ORDER BY (Analysis, Holder, At)
TTL toDateTime(At) + toIntervalDay(7)
