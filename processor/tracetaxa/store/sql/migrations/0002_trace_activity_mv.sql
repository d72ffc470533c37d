CREATE MATERIALIZED VIEW IF NOT EXISTS trace_activity_mv TO trace_activity AS
SELECT now64(9) AS SeenAt, TraceId, max(ParentSpanId = '') AS HasRoot
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId
