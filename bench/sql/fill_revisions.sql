-- Written half a minute after the last arrival.
INSERT INTO trace_revisions (WrittenAt, TraceId, Revision, LastSeen)
SELECT
    fromUnixTimestamp64Nano(toInt64({start_ns:Int64} + number * {step_ns:Int64} + 41000000000)),
    lower(hex(sipHash128(number))),
    1,
    fromUnixTimestamp64Nano(toInt64({start_ns:Int64} + number * {step_ns:Int64} + 10000000000))
FROM numbers({first:UInt64}, {last:UInt64} - {first:UInt64})
