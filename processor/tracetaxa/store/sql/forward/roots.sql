-- The root span of each of some traces, of a trace without one its first span, and when the trace ended. Every start of
-- a span is within the seconds given.
SELECT
    TraceId,
    argMin(SpanId, (ParentSpanId != '', Timestamp, SpanId)) AS RootSpanId,
    max(toUnixTimestamp64Nano(Timestamp) + toInt64(Duration)) AS EndNs
FROM otel_traces
WHERE TraceId IN {trace_ids:Array(String)}
    AND Timestamp >= fromUnixTimestamp({first_second:Int64})
    AND Timestamp <= fromUnixTimestamp({last_second:Int64})
GROUP BY TraceId
