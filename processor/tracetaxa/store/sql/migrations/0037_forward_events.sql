-- In the order of time, so that what is left to send is found without reading the tables by trace.
--   started    forwarding to Destination began, by the deployment Instance
--   labelled   a label was given: by which analysis, for which revision, and its hash
--   delivered  everything of the trace that was closed up to Closed is at Destination, with these labels
CREATE TABLE IF NOT EXISTS forward_events
(
    At DateTime64(9) DEFAULT now64(9) CODEC(DoubleDelta, ZSTD(1)),
    Event Enum8('started' = 1, 'labelled' = 2, 'delivered' = 3),
    TraceId String CODEC(ZSTD(1)),
    Revision UInt32,
    Analysis LowCardinality(String),
    Labels Array(UInt64) CODEC(ZSTD(1)),
    Destination LowCardinality(String),
    Closed DateTime64(9) CODEC(Delta, ZSTD(1)),
    Instance LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY toDate(At)
ORDER BY At
TTL toDateTime(At) + toIntervalDay({retention_days:UInt16})
SETTINGS ttl_only_drop_parts = 1
