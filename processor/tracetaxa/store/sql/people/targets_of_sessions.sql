SELECT TraceId, Revision, Start, ServiceName, SessionId FROM traces FINAL WHERE SessionId IN {ids:Array(String)} ORDER BY Start, TraceId
