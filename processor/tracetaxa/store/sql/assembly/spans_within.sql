-- Of one trace: how many of its first stored spans fit both limits (one always does), and how many other spans
-- there are.
WITH within AS
(
    SELECT
        SpanId,
        row_number() OVER earlier = 1
            OR (row_number() OVER earlier <= {max_spans:UInt64} AND sum(Bytes) OVER earlier <= {max_bytes:UInt64})
            AS Fits
    FROM
    (
        SELECT
            Timestamp,
            SpanId,
            byteSize(SpanAttributes, ResourceAttributes, StatusMessage, Events.Attributes, Links.Attributes) AS Bytes
        FROM otel_traces
        WHERE TraceId = {trace_id:String}
            AND Timestamp >= fromUnixTimestamp({first_second:Int64})
            AND Timestamp <= fromUnixTimestamp({last_second:Int64})
    )
    WINDOW earlier AS (ORDER BY Timestamp, SpanId ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
SELECT countIf(Fits) AS Spans, uniqExact(SpanId) - uniqExactIf(SpanId, Fits) AS LeftOut
FROM within
