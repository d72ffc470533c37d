-- Sessions {first} to {last}, five traces each.
INSERT INTO sessions (TraceId, Revision, SessionId, Start, End, SpanCount, IsAgent, Input, Output, LastSeen, TraceIds)
WITH {start_ns:Int64} + number * 5 * {step_ns:Int64} AS StartNs
SELECT
    lower(hex(sipHash128(number * 5))),
    1,
    concat('session-', toString(number)),
    fromUnixTimestamp64Nano(toInt64(StartNs)),
    fromUnixTimestamp64Nano(toInt64(StartNs + 4 * {step_ns:Int64} + 5000000000)),
    50,
    true,
    concat('Where is my order ', hex(sipHash128(number)), '?'),
    concat('It is on its way ', hex(sipHash128(number, 1))),
    fromUnixTimestamp64Nano(toInt64(StartNs + 4 * {step_ns:Int64} + 41000000000)),
    arrayMap(place -> lower(hex(sipHash128(number * 5 + place))), range(5))
FROM numbers({first:UInt64}, {last:UInt64} - {first:UInt64})
