SELECT DISTINCT Analysis FROM trace_labels WHERE TraceId IN {trace_ids:Array(String)}
