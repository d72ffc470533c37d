-- Starts of the stretches of time, newest first, in which spans of traces or GenAI log events happened.
SELECT DISTINCT intDiv(toUnixTimestamp64Nano(Timestamp), {slice_ns:Int64}) * {slice_ns:Int64} AS Start
FROM
(
    SELECT Timestamp
    FROM otel_traces
    WHERE TraceId != ''
        AND Timestamp >= fromUnixTimestamp64Nano({start_ns:Int64})
        AND Timestamp < fromUnixTimestamp64Nano({end_ns:Int64})
    UNION ALL
    SELECT Timestamp
    FROM otel_logs
    WHERE TraceId != ''
        AND startsWith(if(EventName != '', EventName, LogAttributes['event.name']), 'gen_ai.')
        AND Timestamp >= fromUnixTimestamp64Nano({start_ns:Int64})
        AND Timestamp < fromUnixTimestamp64Nano({end_ns:Int64})
)
ORDER BY Start DESC
