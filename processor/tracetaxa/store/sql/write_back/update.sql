-- Puts the labels of some traces into the attributes of their spans, and takes out what earlier labels left there. Spans
-- that have it already are not touched, so it may be repeated.
UPDATE otel_traces
SET SpanAttributes = CAST(
    mapUpdate(
        mapFilter((name, value) -> NOT /* include is_label_attribute */, SpanAttributes),
        /* include wanted_attributes */
    ),
    'Map(LowCardinality(String), String)'
)
WHERE TraceId IN {trace_ids:Array(String)}
    AND Timestamp >= fromUnixTimestamp({first_second:Int64})
    AND Timestamp <= fromUnixTimestamp({last_second:Int64})
    AND mapSort(CAST(mapFilter((name, value) -> /* include is_label_attribute */, SpanAttributes), 'Map(String, String)'))
        != mapSort(/* include wanted_attributes */)
