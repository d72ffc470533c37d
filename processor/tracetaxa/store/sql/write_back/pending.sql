-- Traces whose labels changed, or which got spans after they were assembled, from a time on, in that order: the next
-- page after the cursor. forward_events_mv notes each label as it is stored.
WITH fromUnixTimestamp64Nano({since_ns:Int64}) AS Since
SELECT TraceId, max(ChangedAt) AS At
FROM
(
    SELECT TraceId, At AS ChangedAt
    FROM forward_events
    WHERE At >= Since AND Event = 'labelled'
    UNION ALL
    SELECT TraceId, WrittenAt AS ChangedAt
    FROM trace_revisions
    WHERE WrittenAt >= Since AND Revision > 1
)
GROUP BY TraceId
HAVING (At, TraceId) > (fromUnixTimestamp64Nano({after_ns:Int64}), {after_id:String})
ORDER BY At, TraceId
LIMIT {max_rows:UInt64}
