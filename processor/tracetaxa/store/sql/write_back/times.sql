-- When the spans of each of these traces started, in seconds since 1970; in that order.
SELECT
    TraceId,
    toInt64(toUnixTimestamp(min(Start))) AS FirstSecond,
    toInt64(toUnixTimestamp(max(End))) + 1 AS LastSecond
FROM otel_traces_trace_id_ts
WHERE TraceId IN {trace_ids:Array(String)}
GROUP BY TraceId
ORDER BY FirstSecond, TraceId
