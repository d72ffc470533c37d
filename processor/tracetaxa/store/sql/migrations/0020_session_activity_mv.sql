-- New revisions of traces. An id beyond 1000 bytes is content in the wrong place: its traces are in no session.
CREATE MATERIALIZED VIEW IF NOT EXISTS session_activity_mv TO session_activity AS
SELECT now64(9) AS SeenAt, SessionId, max(traces.LastSeen) AS LastSeen
FROM traces
WHERE length(SessionId) BETWEEN 1 AND 1000
GROUP BY SessionId
