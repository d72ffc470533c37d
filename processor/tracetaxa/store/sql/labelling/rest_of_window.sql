-- A random choice of the traces of a window that a run did not read, each with its stratum.
SELECT TraceId, /* include stratum */ AS Stratum
FROM traces FINAL
WHERE /* include selection */
    AND TraceId NOT IN (SELECT TraceId FROM run_samples WHERE RunId = {run_id:String})
ORDER BY sipHash64(TraceId, {seed:Int64}), TraceId
LIMIT {limit:UInt64}
