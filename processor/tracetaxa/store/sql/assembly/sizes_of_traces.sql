-- What would be read of each trace: stored spans (repetitions count), and bytes of spans and of GenAI log events.
SELECT TraceId, sum(Spans) AS Spans, sum(Bytes) AS Bytes
FROM
(
    SELECT
        TraceId,
        count() AS Spans,
        sum(byteSize(SpanAttributes, ResourceAttributes, StatusMessage, Events.Attributes, Links.Attributes)) AS Bytes
    FROM otel_traces
    WHERE TraceId IN {trace_ids:Array(String)}
        AND Timestamp >= fromUnixTimestamp({first_second:Int64})
        AND Timestamp <= fromUnixTimestamp({last_second:Int64})
    GROUP BY TraceId
    UNION ALL
    SELECT TraceId, 0, sum(byteSize(Body, LogAttributes))
    FROM otel_logs
    WHERE TraceId IN {trace_ids:Array(String)}
        AND startsWith(if(otel_logs.EventName != '', otel_logs.EventName, LogAttributes['event.name']), 'gen_ai.')
        AND Timestamp >= fromUnixTimestamp(greatest({first_second:Int64} - {before_seconds:UInt32}, 0))
        AND Timestamp <= fromUnixTimestamp(least({last_second:Int64} + {after_seconds:UInt32}, 4294967295))
    GROUP BY TraceId
)
GROUP BY TraceId
HAVING Spans > 0
