-- Up to which scheduled time everything is done. Where two processes saw the schedule first, the earlier counts.
SELECT
    count() > 0 AS Known,
    if(countIf(Settled AND Status != 'since') = 0, min(ScheduledFor), maxIf(ScheduledFor, Settled)) AS DoneUntil
FROM scheduled_runs
WHERE Analysis = {analysis:String} AND Schedule = {schedule:String}
