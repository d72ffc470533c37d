-- For the owner of an embedded database: nobody else can be at work on these.
INSERT INTO analysis_run_states
SELECT * REPLACE (
    'failed' AS Status,
    'its process ended before the run did' AS Error,
    now64(9) AS FinishedAt,
    now64(9) AS UpdatedAt
)
FROM (SELECT * FROM analysis_runs WHERE Status = 'running')
