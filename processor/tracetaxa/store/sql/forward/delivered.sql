-- What the destination has of some traces already.
SELECT
    TraceId,
    groupUniqArrayArray(SpanIds) AS SpanIds,
    groupUniqArrayArray(Labels) AS Labels
FROM forward_deliveries
WHERE Destination = {destination:String} AND TraceId IN {trace_ids:Array(String)}
GROUP BY TraceId
