-- Traces of a selection in the order of their ids, after one of them.
SELECT *
FROM traces FINAL
WHERE TraceId > {after_id:String}
    AND /* include selection */
ORDER BY TraceId
LIMIT {limit:UInt64}
