-- Traces asked about since a time, and what those of a run have cost in all.
SELECT
    sumIf(Traces, AskedAt >= fromUnixTimestamp64Nano({since_ns:Int64})) AS Asked,
    sumIf(CostUsd, RunId = {run_id:String}) AS CostUsd
FROM label_asks
WHERE Analysis = {analysis:String}
