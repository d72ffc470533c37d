-- Feedback on a session as a whole: a closed session gets a revision that holds it, an open one waits as long as
-- before.
CREATE MATERIALIZED VIEW IF NOT EXISTS session_feedback_activity_mv TO session_activity AS
SELECT now64(9) AS SeenAt, SessionId, fromUnixTimestamp64Nano(0) AS LastSeen
FROM feedback
WHERE TraceId = '' AND length(SessionId) BETWEEN 1 AND 1000
GROUP BY SessionId
