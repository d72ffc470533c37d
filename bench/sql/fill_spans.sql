-- Traces {first} to {last}, ten spans each: an agent, model calls with about 700 bytes of content, tools.
INSERT INTO otel_traces
    (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ResourceAttributes, ScopeName,
    SpanAttributes, Duration, StatusCode)
WITH
    intDiv(number, 10) AS Trace,
    number % 10 AS Place
SELECT
    fromUnixTimestamp64Nano(toInt64({start_ns:Int64} + Trace * {step_ns:Int64} + Place * 500000000)),
    lower(hex(sipHash128(Trace))),
    lower(hex(sipHash64(number))),
    if(Place = 0, '', lower(hex(sipHash64(Trace * 10)))),
    ['invoke_agent', 'chat m', 'execute_tool f'][1 + least(Place, 1) + least(Place, 1) * Place % 2],
    'Internal',
    concat('service-', toString(Trace % 20)),
    map('service.name', concat('service-', toString(Trace % 20)), 'deployment.environment.name', 'production'),
    'bench',
    map(
        'gen_ai.operation.name', ['invoke_agent', 'chat', 'execute_tool'][1 + least(Place, 1) + least(Place, 1) * Place % 2],
        'gen_ai.conversation.id', concat('session-', toString(intDiv(Trace, 5))),
        'gen_ai.request.model', 'm',
        'gen_ai.usage.input_tokens', toString(100 + number % 900),
        'gen_ai.usage.output_tokens', toString(number % 90),
        'gen_ai.input.messages', concat(
            '[{"role":"user","parts":[{"type":"text","content":"Where is my order ', hex(sipHash128(number)),
            repeat(' and what happens to the parcel that was promised for today?', 4), '"}]}]'
        ),
        'gen_ai.output.messages', concat(
            '[{"role":"assistant","parts":[{"type":"text","content":"It is on its way ', hex(sipHash128(number, 1)),
            '"}]}]'
        )
    ),
    400000000,
    'Unset'
FROM numbers({first:UInt64} * 10, ({last:UInt64} - {first:UInt64}) * 10)
SETTINGS max_block_size = 65536, max_insert_threads = 1
