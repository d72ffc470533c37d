SELECT FeedbackId, max(GivenAt) AS NewestGivenAt
FROM feedback
WHERE TraceId IN {trace_ids:Array(String)} AND FeedbackId IN {feedback_ids:Array(String)}
GROUP BY FeedbackId
