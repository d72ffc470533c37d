SELECT *
FROM
(
    SELECT *
    FROM feedback FINAL
    WHERE TraceId IN {trace_ids:Array(String)} AND TraceId != ''
    ORDER BY GivenAt DESC, FeedbackId DESC
    LIMIT {max_each:UInt64} BY TraceId
)
ORDER BY TraceId, GivenAt, FeedbackId
