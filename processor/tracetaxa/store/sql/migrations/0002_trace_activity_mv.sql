-- A parent is remote where the sender's flags say so, a column that only our own table has (the matcher is expanded
-- at each insert, to nothing where a collector made the table), or where the span answers somebody else's call.
CREATE MATERIALIZED VIEW IF NOT EXISTS trace_activity_mv TO trace_activity AS
SELECT
    now64(9) AS SeenAt,
    TraceId,
    max(ParentSpanId = '') AS HasRoot,
    max(ParentSpanId != '' AND (
        has([COLUMNS('^ParentIsRemote$')], true)
        OR SpanKind IN ('Server', 'Consumer', 'SPAN_KIND_SERVER', 'SPAN_KIND_CONSUMER')
    )) AS HasRemoteParent
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId
