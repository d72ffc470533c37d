SELECT * FROM traces FINAL WHERE TraceId = {trace_id:String}
