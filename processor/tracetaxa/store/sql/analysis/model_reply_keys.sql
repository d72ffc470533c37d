SELECT groupArray(substring(Fingerprint, 1, {length:UInt8})) AS Known
FROM model_replies
WHERE AnsweredAt >= fromUnixTimestamp64Nano({oldest_ns:Int64})
