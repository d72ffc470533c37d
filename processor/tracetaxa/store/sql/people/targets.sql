SELECT TraceId, Revision, Start, ServiceName, SessionId FROM traces FINAL WHERE TraceId IN {ids:Array(String)}
