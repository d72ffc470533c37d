-- Sessions with activity that their newest revision does not hold, and whether each is closed: no span of its
-- traces arrived for idle_ms. KeptOpenAt is the activity which says so, or not.
WITH
    recent AS
    (
        SELECT
            SessionId,
            max(SeenAt) AS NewestSeen,
            max(session_activity.LastSeen) AS NewestSpan,
            argMax(SeenAt, session_activity.LastSeen) AS KeptOpenAt
        FROM session_activity
        WHERE SeenAt >= fromUnixTimestamp64Nano({since_ns:Int64})
        GROUP BY SessionId
    ),
    assembled AS
    (
        SELECT SessionId, Revision, LastSeen
        FROM sessions FINAL
        WHERE SessionId IN (SELECT SessionId FROM recent)
    )
SELECT
    recent.SessionId AS SessionId,
    assembled.Revision AS Revision,
    recent.NewestSeen AS LastSeen,
    recent.KeptOpenAt AS KeptOpenAt,
    recent.NewestSpan <= now64(9) - toIntervalMillisecond({idle_ms:UInt64}) AS Closed
FROM recent
LEFT JOIN assembled ON recent.SessionId = assembled.SessionId
WHERE recent.NewestSeen > assembled.LastSeen
ORDER BY recent.NewestSeen, SessionId
