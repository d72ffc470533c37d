SELECT TraceId, max(Revision) AS Newest
FROM traces
WHERE TraceId IN {trace_ids:Array(String)}
GROUP BY TraceId
