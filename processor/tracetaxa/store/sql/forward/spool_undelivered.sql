-- Of what a partition of the spool holds, what has not been delivered since it came.
SELECT count() AS Spans, uniqExact(TraceId) AS Traces
FROM forward_spool
WHERE WrittenAt >= fromUnixTimestamp({first_second:Int64})
    AND WrittenAt < fromUnixTimestamp({first_second:Int64} + 900)
    AND TraceId NOT IN
    (
        SELECT TraceId
        FROM forward_events
        WHERE At >= fromUnixTimestamp({first_second:Int64})
            AND Event = 'delivered' AND Destination = {destination:String}
    )
