-- Traces of a run's sample that the run labelled; one that ended early did not reach all of them.
SELECT DISTINCT TraceId
FROM trace_labels
WHERE Analysis = {analysis:String}
    AND RunId = {run_id:String}
    AND TraceId IN (SELECT TraceId FROM run_samples WHERE RunId = {run_id:String})
    AND (Labeller IN ('llm', 'local') OR ClassifierVersion = 'near-duplicate')
