-- Each trace arrives in three inserts: a second, five and ten seconds after it began.
INSERT INTO trace_activity (SeenAt, TraceId, HasRoot)
SELECT
    fromUnixTimestamp64Nano(toInt64({start_ns:Int64} + number * {step_ns:Int64} + Seconds * 1000000000)),
    lower(hex(sipHash128(number))),
    Seconds = 10
FROM numbers({first:UInt64}, {last:UInt64} - {first:UInt64})
ARRAY JOIN [1, 5, 10] AS Seconds
