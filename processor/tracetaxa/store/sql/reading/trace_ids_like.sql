-- From the lookup table, whose order begins with the trace id: spans are in no such order.
SELECT DISTINCT TraceId
FROM otel_traces_trace_id_ts
WHERE startsWith(TraceId, {prefix:String})
ORDER BY TraceId
LIMIT 3
