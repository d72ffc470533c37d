SELECT TraceId, Start, ServiceName FROM traces FINAL WHERE TraceId IN {trace_ids:Array(String)}
