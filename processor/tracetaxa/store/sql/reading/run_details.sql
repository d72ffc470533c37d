-- What else there is to say of runs: for which scheduled time each was made, and whether it has a report.
SELECT RunId, max(Scheduled) AS ScheduledFor, max(Reported) AS HasReport
FROM
(
    SELECT RunId, ScheduledFor AS Scheduled, false AS Reported
    FROM scheduled_runs
    WHERE RunId IN {run_ids:Array(String)}
    UNION ALL
    SELECT RunId, fromUnixTimestamp64Nano(toInt64(0)), true
    FROM reports
    WHERE RunId IN {run_ids:Array(String)}
)
GROUP BY RunId
