-- The label attributes that a span of these traces should have: those of its trace, or none. root_only: of the root span
-- alone; of a trace without one, of its first span.
if(
    NOT {root_only:Bool} OR (TraceId, SpanId) IN (
        SELECT TraceId, argMin(SpanId, (ParentSpanId != '', Timestamp, SpanId))
        FROM otel_traces
        WHERE TraceId IN {trace_ids:Array(String)}
            AND Timestamp >= fromUnixTimestamp({first_second:Int64})
            AND Timestamp <= fromUnixTimestamp({last_second:Int64})
        GROUP BY TraceId
    ),
    /* include label_attributes */[TraceId],
    CAST(map(), 'Map(String, String)')
)
