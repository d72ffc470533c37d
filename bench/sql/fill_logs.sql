-- One GenAI event a trace.
INSERT INTO otel_logs (Timestamp, TraceId, SpanId, ServiceName, Body, LogAttributes, EventName)
SELECT
    fromUnixTimestamp64Nano(toInt64({start_ns:Int64} + number * {step_ns:Int64} + 1000000)),
    lower(hex(sipHash128(number))),
    lower(hex(sipHash64(number * 10 + 1))),
    concat('service-', toString(number % 20)),
    '',
    map('gen_ai.evaluation.name', 'correctness', 'gen_ai.evaluation.score.value', '0.5'),
    'gen_ai.evaluation.result'
FROM numbers({first:UInt64}, {last:UInt64} - {first:UInt64})
