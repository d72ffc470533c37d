-- Runs that nobody is at work on: of an embedded database all that are left when it is opened (lease_ms 0); on a
-- server those of analyses whose turn nobody has, after a while in which a row of run_leases may still be on its way.
-- A state that their process writes all the same is newer and wins.
INSERT INTO analysis_run_states
SELECT * REPLACE (
    'failed' AS Status,
    {error:String} AS Error,
    now64(9) AS FinishedAt,
    fromUnixTimestamp64Nano(toUnixTimestamp64Nano(UpdatedAt) + 1) AS UpdatedAt
)
FROM
(
    SELECT *
    FROM analysis_runs
    WHERE Status = 'running' AND
    (
        {lease_ms:UInt64} = 0
        OR UpdatedAt <= now64(9) - toIntervalMillisecond({lease_ms:UInt64}) AND Analysis NOT IN
        (
            SELECT Analysis
            FROM run_leases
            GROUP BY Analysis, Holder
            HAVING addMilliseconds(max(At), max(LeaseMs)) > now64(9) AND NOT max(Event = 'released')
        )
    )
)
