SELECT *
FROM trace_labels_current
WHERE TraceId IN {trace_ids:Array(String)} AND Analysis IN {analyses:Array(String)}
