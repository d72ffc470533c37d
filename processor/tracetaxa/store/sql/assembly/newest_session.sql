-- The newest addition that any session holds; 1970 when there is none.
SELECT max(LastSeen) AS LastSeen FROM sessions
