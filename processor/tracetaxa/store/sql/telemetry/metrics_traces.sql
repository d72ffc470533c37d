SELECT uniqExact(TraceId) AS Traces
FROM traces
WHERE IsAgent AND Start >= fromUnixTimestamp64Nano({since_ns:Int64})
