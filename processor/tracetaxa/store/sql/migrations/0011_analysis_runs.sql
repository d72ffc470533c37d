CREATE VIEW IF NOT EXISTS analysis_runs AS
SELECT * FROM analysis_run_states FINAL
