-- Every span once: the table collapses what was sent twice, and FINAL does it for what is not merged yet.
CREATE VIEW IF NOT EXISTS otel_traces_once AS
SELECT *
FROM otel_traces
FINAL
