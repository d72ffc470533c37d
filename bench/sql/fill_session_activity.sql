INSERT INTO session_activity (SeenAt, SessionId, LastSeen)
SELECT
    fromUnixTimestamp64Nano(toInt64({start_ns:Int64} + number * {step_ns:Int64} + 41000000000)),
    concat('session-', toString(intDiv(number, 5))),
    fromUnixTimestamp64Nano(toInt64({start_ns:Int64} + number * {step_ns:Int64} + 10000000000))
FROM numbers({first:UInt64}, {last:UInt64} - {first:UInt64})
