-- The newest arrival that any revision holds; 1970 when there is none.
SELECT max(LastSeen) AS LastSeen FROM trace_revisions
