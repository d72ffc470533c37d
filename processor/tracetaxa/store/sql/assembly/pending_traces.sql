-- Traces with arrivals that no revision holds, the closed ones first and then those that went quiet without being
-- closed, and beside each row how many there are in all and since when the oldest one, and the oldest open one, waits.
-- Closed: quiet for idle_ms with its root or a span with a remote parent seen, or once assembled already;
-- quiet for orphan_idle_ms without; open for max_trace_ms.
-- Everything is read from since_ns on. A revision is written after the arrivals that it holds, so those that
-- hold any of these arrivals are among the rows read; older ones are not, and the assembler asks for them.
-- Revision 0 says that nothing is left of the trace. Where two assemblers wrote one revision, either row may stay
-- in traces: what the one with fewer arrivals has counts.
WITH
    fromUnixTimestamp64Nano({since_ns:Int64}) AS Since,
    now64(9) AS CurrentTime,
    pending AS
    (
        SELECT
            TraceId,
            maxIf(At, IsArrival) AS NewestSeen,
            greatest(
                argMaxIf(UpTo, (Number, -toUnixTimestamp64Nano(UpTo)), Number > 0),
                maxIf(UpTo, Number = 0)
            ) AS Assembled,
            greatest(minIf(At, IsArrival), Assembled) AS WaitsSince,
            max(Number) > 0 OR max(Entered) AS EntrySeen
        FROM
        (
            SELECT
                TraceId, true AS IsArrival, SeenAt AS At, HasRoot OR HasRemoteParent AS Entered,
                toUInt32(0) AS Number, fromUnixTimestamp64Nano(0) AS UpTo
            FROM trace_activity
            WHERE SeenAt >= Since
            UNION ALL
            SELECT TraceId, false, WrittenAt, false, Revision, LastSeen
            FROM trace_revisions
            WHERE WrittenAt >= Since
        )
        GROUP BY TraceId
        HAVING NewestSeen > Assembled
    ),
    NewestSeen <= CurrentTime - toIntervalMillisecond({idle_ms:UInt64}) AS Quiet
SELECT
    TraceId,
    NewestSeen AS LastSeen,
    WaitsSince,
    (Quiet AND EntrySeen)
        OR NewestSeen <= CurrentTime - toIntervalMillisecond({orphan_idle_ms:UInt64})
        OR WaitsSince <= CurrentTime - toIntervalMillisecond({max_trace_ms:UInt64})
        AS Closed,
    Quiet AND NOT Closed AS Unsure,
    count() OVER () AS AllPending,
    min(WaitsSince) OVER () AS OldestPending,
    countIf(NOT Closed) OVER () AS AllOpen,
    minIf(WaitsSince, NOT Closed) OVER () AS OldestOpen
FROM pending
ORDER BY Closed DESC, Unsure DESC, NewestSeen, TraceId
LIMIT {max_rows:UInt64}
