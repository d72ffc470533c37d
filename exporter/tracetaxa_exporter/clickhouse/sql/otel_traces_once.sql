-- Every span once, in a table that keeps what was sent twice. Time, service and name add nothing to a span's
-- identity: they are there because ClickHouse applies a condition below LIMIT BY when it is on columns of it, and so
-- reads only the days and services that a question asks for.
CREATE VIEW IF NOT EXISTS otel_traces_once AS
SELECT *
FROM otel_traces
LIMIT 1 BY Timestamp, ServiceName, SpanName, TraceId, SpanId
