-- The traces that were there before. Two replicas may both do it: an addition told twice is one.
INSERT INTO session_activity
SELECT now64(9) AS SeenAt, SessionId, max(traces.LastSeen) AS LastSeen
FROM traces
WHERE length(SessionId) BETWEEN 1 AND 1000
GROUP BY SessionId
