-- Spans of some traces as they came, from first_span to last_span (hexadecimal), each once.
SELECT TraceId, SpanId, Resource, Scope, Span
FROM forward_spool
WHERE TraceId IN {trace_ids:Array(String)}
    AND SpanId >= toFixedString(unhex({first_span:String}), 8)
    AND SpanId <= toFixedString(unhex({last_span:String}), 8)
ORDER BY TraceId, SpanId
LIMIT 1 BY TraceId, SpanId
