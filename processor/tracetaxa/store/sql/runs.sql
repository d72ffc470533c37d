SELECT *
FROM analysis_runs
WHERE {analysis:String} = '' OR Analysis = {analysis:String}
ORDER BY StartedAt DESC, RunId
LIMIT {limit:UInt64}
