-- The newest revision of each of these traces. Not FINAL: that would read the long columns of every granule that may
-- hold an id, and traces that closed lately are in small parts.
SELECT *
FROM traces
PREWHERE TraceId IN {trace_ids:Array(String)}
ORDER BY TraceId, Revision DESC
LIMIT 1 BY TraceId
