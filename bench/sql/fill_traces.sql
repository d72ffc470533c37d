INSERT INTO traces
    (TraceId, Revision, SessionId, ServiceName, RootName, Start, End, DurationMs, SpanCount, Status, IsAgent, LlmCalls,
    ToolCalls, Tools, Models, InputTokens, OutputTokens, Input, Output, Attributes, DigestKinds, DigestTexts,
    DigestSpanIds, LastSeen)
WITH {start_ns:Int64} + number * {step_ns:Int64} AS StartNs
SELECT
    lower(hex(sipHash128(number))),
    1,
    concat('session-', toString(intDiv(number, 5))),
    concat('service-', toString(number % 20)),
    'invoke_agent',
    fromUnixTimestamp64Nano(toInt64(StartNs)),
    fromUnixTimestamp64Nano(toInt64(StartNs + 5000000000)),
    5000,
    10,
    'Unset',
    true,
    5,
    4,
    ['f'],
    ['m'],
    4000,
    400,
    concat('Where is my order ', hex(sipHash128(number)), '?'),
    concat('It is on its way ', hex(sipHash128(number, 1))),
    map('deployment.environment.name', 'production'),
    ['user', 'assistant'],
    [concat('Where is my order ', hex(sipHash128(number)), '?'), concat('It is on its way ', hex(sipHash128(number, 1)))],
    ['', ''],
    fromUnixTimestamp64Nano(toInt64(StartNs + 10000000000))
FROM numbers({first:UInt64}, {last:UInt64} - {first:UInt64})
