-- Times of the traces in [start_ns, end_ns) that the lookup table does not know, or not in full.
INSERT INTO otel_traces_trace_id_ts (TraceId, Start, End)
SELECT here.TraceId, here.First, here.Last
FROM
(
    SELECT TraceId, min(Timestamp) AS First, max(Timestamp) AS Last
    FROM otel_traces
    WHERE TraceId != ''
        AND Timestamp >= fromUnixTimestamp64Nano({start_ns:Int64})
        AND Timestamp < fromUnixTimestamp64Nano({end_ns:Int64})
    GROUP BY TraceId
) AS here
LEFT ANY JOIN
(
    SELECT TraceId, min(Start) AS First, max(End) AS Last
    FROM otel_traces_trace_id_ts
    WHERE Start >= toDateTime(fromUnixTimestamp64Nano({start_ns:Int64})) - toIntervalDay(1)
        AND Start <= toDateTime(fromUnixTimestamp64Nano({end_ns:Int64}))
    GROUP BY TraceId
) AS known ON here.TraceId = known.TraceId
WHERE known.TraceId = '' OR known.First > toDateTime(here.First) OR known.Last < toDateTime(here.Last)
