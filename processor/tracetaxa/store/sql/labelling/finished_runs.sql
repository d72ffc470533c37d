-- The newest finished runs of an analysis that labelled something.
SELECT *
FROM analysis_runs
WHERE Analysis = {analysis:String}
    AND Status IN ('complete', 'partial')
    AND TracesLabelled > TracesAbstained
ORDER BY FinishedAt DESC, RunId
LIMIT {limit:UInt64}
