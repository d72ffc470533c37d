-- Assembled traces with a GenAI log event in [start_ns, end_ns) that came after all that their revision holds.
WITH
    here AS
    (
        SELECT TraceId, max(Timestamp) AS Newest
        FROM otel_logs
        WHERE TraceId > {after:String}
            AND startsWith(if(EventName != '', EventName, LogAttributes['event.name']), 'gen_ai.')
            AND Timestamp >= fromUnixTimestamp64Nano({start_ns:Int64})
            AND Timestamp < fromUnixTimestamp64Nano({end_ns:Int64})
            AND Timestamp <= now64(9)
        GROUP BY TraceId
    )
SELECT here.TraceId AS TraceId, false AS HasRoot, false AS HasRemoteParent
FROM here
INNER JOIN
(
    SELECT TraceId, LastSeen
    FROM traces FINAL
    WHERE TraceId IN (SELECT TraceId FROM here)
) AS assembled ON here.TraceId = assembled.TraceId
WHERE here.Newest > assembled.LastSeen
ORDER BY TraceId
LIMIT {max_rows:UInt64}
