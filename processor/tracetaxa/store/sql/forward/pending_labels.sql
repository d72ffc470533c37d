-- Traces with labels that were given from since_ns to until_ns and that the destination has not been told of, by the
-- hashes of those labels.
WITH
    fromUnixTimestamp64Nano({since_ns:Int64}) AS Since,
    fromUnixTimestamp64Nano({until_ns:Int64}) AS Until
SELECT
    TraceId,
    arrayFilter(label -> NOT has(Sent, label), Given) AS Labels,
    WaitsSince,
    Newest AS Revision,
    count() OVER () AS AllPending,
    min(WaitsSince) OVER () AS OldestPending
FROM
(
    SELECT
        TraceId,
        groupUniqArrayArrayIf(Labels, Event = 'labelled') AS Given,
        groupUniqArrayArrayIf(Labels, Event = 'delivered') AS Sent,
        max(Revision) AS Newest,
        minIf(At, Event = 'labelled') AS WaitsSince
    FROM forward_events
    WHERE At >= Since
        AND (
            (Event = 'labelled' AND At < Until)
            OR (Event = 'delivered' AND Destination = {destination:String})
        )
    GROUP BY TraceId
    HAVING arrayExists(label -> NOT has(Sent, label), Given)
)
ORDER BY WaitsSince, TraceId
LIMIT {max_rows:UInt64}
