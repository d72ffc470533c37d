-- On the session itself, not on one of its traces.
SELECT *
FROM
(
    SELECT *
    FROM feedback FINAL
    WHERE TraceId = '' AND SessionId IN {session_ids:Array(String)}
    ORDER BY GivenAt DESC, FeedbackId DESC
    LIMIT {max_each:UInt64} BY SessionId
)
ORDER BY SessionId, GivenAt, FeedbackId
