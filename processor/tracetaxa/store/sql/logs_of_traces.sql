-- GenAI log events of traces, each once. The lookup table knows when the spans of a trace started first and last;
-- events may be some time before that and, evaluations above all, long after.
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
    AND Timestamp >= (SELECT min(Start) FROM otel_traces_trace_id_ts WHERE TraceId IN {trace_ids:Array(String)})
        - toIntervalSecond({before_seconds:UInt32})
    AND Timestamp <= (SELECT max(End) + 1 FROM otel_traces_trace_id_ts WHERE TraceId IN {trace_ids:Array(String)})
        + toIntervalSecond({after_seconds:UInt32})
ORDER BY TraceId, Time, SpanId, EventName, Body
