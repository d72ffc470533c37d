SELECT *
FROM model_replies FINAL
WHERE Fingerprint = {fingerprint:String} AND AnsweredAt >= fromUnixTimestamp64Nano({oldest_ns:Int64})
