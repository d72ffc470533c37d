ALTER TABLE otel_traces_trace_id_ts
MODIFY TTL toDateTime(Start) + toIntervalDay({retention_days:UInt16})
