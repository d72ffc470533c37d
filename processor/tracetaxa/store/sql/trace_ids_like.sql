SELECT DISTINCT TraceId FROM otel_traces WHERE startsWith(TraceId, {prefix:String}) ORDER BY TraceId LIMIT 3
