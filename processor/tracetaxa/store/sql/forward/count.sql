-- How many traces are closed and not at the destination. There may be millions when it has been down: on disk, then.
SELECT count() AS Pending, min(Oldest) AS OldestPending
FROM
(
    SELECT TraceId, minIf(At, IsClosed) AS Oldest
    FROM
    (
        SELECT TraceId, true AS IsClosed, WrittenAt AS At
        FROM trace_revisions
        WHERE WrittenAt >= fromUnixTimestamp64Nano({since_ns:Int64})
        UNION ALL
        SELECT TraceId, false, Closed
        FROM forward_events
        WHERE At >= fromUnixTimestamp64Nano({since_ns:Int64})
            AND Event = 'delivered' AND Destination = {destination:String}
    )
    GROUP BY TraceId
    HAVING maxIf(At, IsClosed) > maxIf(At, NOT IsClosed)
)
SETTINGS max_bytes_before_external_group_by = 268435456
