ALTER TABLE otel_traces
MODIFY TTL toDateTime(Timestamp) + toIntervalDay({retention_days:UInt16})
