-- Which of some traces have agent or model spans.
SELECT TraceId
FROM traces
FINAL
WHERE TraceId IN {trace_ids:Array(String)} AND IsAgent
