-- Traces with spans newer than their newest revision, and whether each is closed: quiet for idle_seconds with
-- its root seen (or once assembled already), for orphan_idle_seconds without, or open for max_trace_seconds.
WITH
    recent AS
    (
        SELECT TraceId, min(SeenAt) AS FirstSeen, max(SeenAt) AS NewestSeen, max(HasRoot) AS RootSeen
        FROM trace_activity
        WHERE SeenAt >= fromUnixTimestamp64Nano({since_ns:Int64})
        GROUP BY TraceId
    ),
    assembled AS
    (
        SELECT TraceId, Revision, LastSeen
        FROM traces FINAL
        WHERE TraceId IN (SELECT TraceId FROM recent)
    ),
    now64(9) AS CurrentTime
SELECT
    recent.TraceId AS TraceId,
    assembled.Revision AS Revision,
    recent.FirstSeen AS FirstSeen,
    recent.NewestSeen AS LastSeen,
    (NewestSeen <= CurrentTime - toIntervalMillisecond({idle_ms:UInt64}) AND (RootSeen OR Revision > 0))
        OR NewestSeen <= CurrentTime - toIntervalMillisecond({orphan_idle_ms:UInt64})
        OR greatest(FirstSeen, assembled.LastSeen) <= CurrentTime - toIntervalMillisecond({max_trace_ms:UInt64})
        AS Closed
FROM recent
LEFT JOIN assembled ON recent.TraceId = assembled.TraceId
WHERE recent.NewestSeen > assembled.LastSeen
ORDER BY NewestSeen, TraceId
