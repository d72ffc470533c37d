-- Traces that were closed from since_ns to until_ns and are not at the destination as far as that: first those that need
-- not wait for a label any more, then by how long they wait. Ready: every one of analyses has labelled the newest revision,
-- or timeout_ms is over. A trace is labelled and delivered after it was closed, so nothing older is read, and what was closed
-- once and has no label among these rows has none.
WITH
    fromUnixTimestamp64Nano({since_ns:Int64}) AS Since,
    fromUnixTimestamp64Nano({until_ns:Int64}) AS Until
SELECT
    TraceId,
    Newest AS Revision,
    Closed,
    arrayMin(arrayFilter(at -> at > Delivered, Closings)) AS WaitsSince,
    arrayDistinct(arrayMap(label -> label.1, arrayFilter(label -> label.2 >= Newest, Given))) AS Labelled,
    notEmpty(Given) OR Newest != 1 AS MayHaveLabels,
    WaitsSince <= now64(9) - toIntervalMillisecond({timeout_ms:UInt64}) AS Waited,
    Waited OR hasAll(Labelled, {analyses:Array(String)}) AS Ready,
    count() OVER () AS AllPending,
    min(WaitsSince) OVER () AS OldestPending
FROM
(
    SELECT
        TraceId,
        maxIf(Number, Kind = 'closed') AS Newest,
        maxIf(At, Kind = 'closed') AS Closed,
        maxIf(At, Kind = 'delivered') AS Delivered,
        groupArrayIf(At, Kind = 'closed') AS Closings,
        groupArrayIf((Name, Number), Kind = 'labelled') AS Given
    FROM
    (
        SELECT TraceId, 'closed' AS Kind, Revision AS Number, WrittenAt AS At, '' AS Name
        FROM trace_revisions
        WHERE WrittenAt >= Since AND WrittenAt < Until
        UNION ALL
        SELECT TraceId, toString(Event), Revision, if(Event = 'delivered', Closed, At), toString(Analysis)
        FROM forward_events
        WHERE At >= Since
            AND (
                (Event = 'delivered' AND Destination = {destination:String})
                OR (Event = 'labelled' AND At < Until + toIntervalHour(1))
            )
    )
    GROUP BY TraceId
    HAVING Closed > Delivered
)
ORDER BY Ready DESC, WaitsSince, TraceId
LIMIT {max_rows:UInt64}
