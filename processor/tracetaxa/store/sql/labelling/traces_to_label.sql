-- The same, of those that are in a selection.
SELECT *
FROM
(
    SELECT *
    FROM traces
    PREWHERE TraceId IN {trace_ids:Array(String)}
    ORDER BY TraceId, Revision DESC
    LIMIT 1 BY TraceId
)
WHERE /* include selection */
