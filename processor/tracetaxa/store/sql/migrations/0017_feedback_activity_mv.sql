-- Feedback counts as an arrival on its trace, so that a closed trace gets a revision that holds it.
CREATE MATERIALIZED VIEW IF NOT EXISTS feedback_activity_mv TO trace_activity AS
SELECT now64(9) AS SeenAt, TraceId, false AS HasRoot
FROM feedback
WHERE TraceId != ''
GROUP BY TraceId
