-- Sessions with activity that their newest revision does not hold, the closed ones first, and beside each row how
-- many there are in all and since when the oldest open one is kept open. Closed: no span of its traces arrived
-- for idle_ms. KeptOpenAt is the activity which says so, or not.
-- Of two assemblers that wrote the same revision, either row may stay: what the one that holds less has counts.
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
        SELECT
            SessionId,
            max(Revision) AS Newest,
            argMax(sessions.LastSeen, (Revision, -toUnixTimestamp64Nano(sessions.LastSeen))) AS HeldUntil
        FROM sessions
        WHERE SessionId IN (SELECT SessionId FROM recent)
        GROUP BY SessionId
    )
SELECT
    recent.SessionId AS SessionId,
    assembled.Newest AS Revision,
    recent.NewestSeen AS LastSeen,
    recent.KeptOpenAt AS KeptOpenAt,
    recent.NewestSpan <= now64(9) - toIntervalMillisecond({idle_ms:UInt64}) AS Closed,
    count() OVER () AS AllPending,
    countIf(NOT Closed) OVER () AS AllOpen,
    minIf(recent.KeptOpenAt, NOT Closed) OVER () AS OldestOpen
FROM recent
LEFT JOIN assembled ON recent.SessionId = assembled.SessionId
WHERE recent.NewestSeen > assembled.HeldUntil
ORDER BY Closed DESC, recent.NewestSeen, SessionId
LIMIT {max_rows:UInt64}
