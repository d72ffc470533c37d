-- GenAI log events count as activity of their trace, so that a late one makes a new revision of it.
CREATE MATERIALIZED VIEW IF NOT EXISTS log_activity_mv TO trace_activity AS
SELECT now64(9) AS SeenAt, TraceId, false AS HasRoot
FROM otel_logs
WHERE TraceId != '' AND startsWith(if(EventName != '', EventName, LogAttributes['event.name']), 'gen_ai.')
GROUP BY TraceId
