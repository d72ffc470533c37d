-- The first max_spans rows, by trace and time.
SELECT
    TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName,
    toUnixTimestamp64Nano(Timestamp) AS StartNs, Duration, StatusCode, StatusMessage,
    SpanAttributes, ResourceAttributes, ScopeName, ScopeVersion,
    arrayMap(time -> toUnixTimestamp64Nano(time), Events.Timestamp) AS EventTimes,
    Events.Name AS EventNames, Events.Attributes AS EventAttributes,
    Links.TraceId AS LinkTraceIds, Links.SpanId AS LinkSpanIds, Links.Attributes AS LinkAttributes
FROM otel_traces
WHERE TraceId IN {trace_ids:Array(String)}
    AND Timestamp >= fromUnixTimestamp({first_second:Int64})
    AND Timestamp <= fromUnixTimestamp({last_second:Int64})
ORDER BY TraceId, Timestamp, SpanId
LIMIT {max_spans:UInt64}
