-- Traces with spans in [start_ns, end_ns) of which no view has told: neither assembled nor waiting for it, or
-- assembled from fewer spans than there are here. As the view trace_activity_mv would have told of them.
-- Of traces that are only there in part the rest is counted in its own stretch of time.
WITH
    here AS
    (
        SELECT
            TraceId,
            uniqExact(SpanId) AS Spans,
            max(ParentSpanId = '') AS HasRoot,
            max(ParentSpanId != '' AND (
                has([COLUMNS('^ParentIsRemote$')], true)
                OR SpanKind IN ('Server', 'Consumer', 'SPAN_KIND_SERVER', 'SPAN_KIND_CONSUMER')
            )) AS HasRemoteParent
        FROM otel_traces
        WHERE TraceId > {after:String}
            AND Timestamp >= fromUnixTimestamp64Nano({start_ns:Int64})
            AND Timestamp < fromUnixTimestamp64Nano({end_ns:Int64})
        GROUP BY TraceId
    ),
    assembled AS
    (
        SELECT TraceId, SpanCount + toUInt64OrZero(Attributes[{left_out:String}]) AS Spans
        FROM traces FINAL
        WHERE Start < fromUnixTimestamp64Nano({end_ns:Int64}) AND End >= fromUnixTimestamp64Nano({start_ns:Int64})
    )
SELECT here.TraceId AS TraceId, here.HasRoot AS HasRoot, here.HasRemoteParent AS HasRemoteParent
FROM here
LEFT ANY JOIN assembled ON here.TraceId = assembled.TraceId
WHERE here.Spans > assembled.Spans
    AND (
        assembled.Spans > 0
        OR here.TraceId NOT IN (
            SELECT TraceId
            FROM trace_activity
            WHERE TraceId IN (
                SELECT TraceId
                FROM otel_traces
                WHERE TraceId > {after:String}
                    AND Timestamp >= fromUnixTimestamp64Nano({start_ns:Int64})
                    AND Timestamp < fromUnixTimestamp64Nano({end_ns:Int64})
            )
        )
    )
ORDER BY TraceId
LIMIT {max_rows:UInt64}
