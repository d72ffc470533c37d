-- How many labels were given that the destination has not been told of.
SELECT count() AS Pending
FROM
(
    SELECT TraceId, Label
    FROM forward_events
    ARRAY JOIN Labels AS Label
    WHERE At >= fromUnixTimestamp64Nano({since_ns:Int64})
        AND (Event = 'labelled' OR (Event = 'delivered' AND Destination = {destination:String}))
    GROUP BY TraceId, Label
    HAVING max(Event = 'delivered') = 0
)
SETTINGS max_bytes_before_external_group_by = 268435456
