SELECT count() AS Attempts, max(At) AS LastAt
FROM scheduled_runs
WHERE Analysis = {analysis:String} AND Schedule = {schedule:String}
    AND ScheduledFor = fromUnixTimestamp64Nano({scheduled_for_ns:Int64})
