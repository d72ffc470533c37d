-- In seconds since 1970, from before the first to after the last start of a span in any of these traces.
SELECT
    toInt64(toUnixTimestamp(min(Start))) AS FirstSecond,
    toInt64(toUnixTimestamp(max(End))) + 1 AS LastSecond,
    count() AS Known
FROM otel_traces_trace_id_ts
WHERE TraceId IN {trace_ids:Array(String)}
