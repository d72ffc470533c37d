-- GenAI log events of traces, each once; of one trace the first that both limits hold. The lookup table knows when
-- the spans of a trace started first and last; events may be some time before that and, evaluations above all,
-- long after.
WITH events AS
(
    SELECT DISTINCT
        TraceId,
        SpanId,
        Timestamp AS Time,
        if(otel_logs.EventName != '', otel_logs.EventName, LogAttributes['event.name']) AS EventName,
        Body,
        LogAttributes AS Attributes
    FROM otel_logs
    WHERE TraceId IN {trace_ids:Array(String)}
        AND startsWith(if(otel_logs.EventName != '', otel_logs.EventName, LogAttributes['event.name']), 'gen_ai.')
        AND Timestamp >= fromUnixTimestamp(greatest({first_second:Int64} - {before_seconds:UInt32}, 0))
        AND Timestamp <= fromUnixTimestamp(least({last_second:Int64} + {after_seconds:UInt32}, 4294967295))
)
SELECT TraceId, SpanId, Time, EventName, Body, Attributes
FROM
(
    SELECT
        *,
        row_number() OVER earlier AS Number,
        sum(byteSize(Body, Attributes)) OVER earlier AS Bytes
    FROM events
    WINDOW earlier AS (
        PARTITION BY TraceId ORDER BY Time, SpanId, EventName, Body ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
)
WHERE Number <= {max_events:UInt64} AND Bytes <= {max_bytes:UInt64}
ORDER BY TraceId, Time, SpanId, EventName, Body
