ALTER TABLE otel_logs
MODIFY TTL toDateTime(Timestamp) + toIntervalDay({retention_days:UInt16})
