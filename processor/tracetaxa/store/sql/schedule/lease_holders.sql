-- Live claims to the turn of an analysis, the winner first: one that is held already, then the earliest, then by
-- name. Live: heard of within the lease, and not given back.
SELECT Holder, max(Event = 'held') AS Held
FROM run_leases
WHERE Analysis = {analysis:String}
GROUP BY Holder
HAVING addMilliseconds(max(At), max(LeaseMs)) > now64(9) AND NOT max(Event = 'released')
ORDER BY Held DESC, min(At), Holder
