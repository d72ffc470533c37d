-- What became of the newest scheduled time of each analysis.
SELECT *
FROM scheduled_runs
WHERE Analysis IN {analyses:Array(String)} AND Status != 'since'
ORDER BY At DESC, ScheduledFor DESC
LIMIT 1 BY Analysis
