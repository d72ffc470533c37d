-- Labels that were written back into otel_traces: everything that was stored up to Through is done. The newest row counts.
CREATE TABLE IF NOT EXISTS label_write_backs
(
    WrittenAt DateTime64(9) DEFAULT now64(9),
    Through DateTime64(9),
    Traces UInt64,
    Milliseconds UInt64
)
ENGINE = MergeTree
ORDER BY WrittenAt
TTL toDateTime(WrittenAt) + toIntervalDay({retention_days:UInt16})
