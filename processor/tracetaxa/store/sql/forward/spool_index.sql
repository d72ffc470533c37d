-- What the spool has of some traces, each span once, without the bytes.
SELECT TraceId, SpanId, ParentSpanId, Bytes
FROM forward_spool
WHERE TraceId IN {trace_ids:Array(String)}
ORDER BY TraceId, SpanId
LIMIT 1 BY TraceId, SpanId
