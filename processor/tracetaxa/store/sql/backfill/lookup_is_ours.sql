SELECT count() > 0 AS IsOurs
FROM system.tables
WHERE database = currentDatabase()
    AND name IN ('otel_traces_trace_id_ts', 'otel_traces_trace_id_ts_local')
    AND endsWith(comment, 'created by tracetaxa')
