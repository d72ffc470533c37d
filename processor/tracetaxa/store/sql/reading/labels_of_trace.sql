SELECT * FROM trace_labels_current WHERE TraceId = {trace_id:String} ORDER BY Analysis
