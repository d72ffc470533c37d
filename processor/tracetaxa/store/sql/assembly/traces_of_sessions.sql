-- The newest traces of each session, newest first, and how many there are.
SELECT SessionId, TraceId, SpanCount, count() OVER (PARTITION BY SessionId) AS Traces
FROM traces FINAL
WHERE SessionId IN {session_ids:Array(String)}
ORDER BY SessionId, Start DESC, TraceId DESC
LIMIT {max_traces:UInt64} BY SessionId
