-- Revisions of traces in the order in which they were written, after one of them.
SELECT toUnixTimestamp64Nano(WrittenAt) AS WrittenNs, TraceId, Revision
FROM trace_revisions
WHERE WrittenAt >= fromUnixTimestamp64Nano({after_ns:Int64})
    AND (WrittenAt, TraceId) > (fromUnixTimestamp64Nano({after_ns:Int64}), {after_id:String})
    AND Revision > 0
ORDER BY WrittenAt, TraceId
LIMIT {limit:UInt64}
