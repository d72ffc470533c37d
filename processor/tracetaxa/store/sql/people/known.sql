-- Traces of agents that started since, and those of them that name a user or a session.
SELECT count() AS Traces, countIf(UserId != '' OR SessionId != '') AS Known
FROM traces FINAL
WHERE Start >= fromUnixTimestamp64Nano({start_ns:Int64}) AND IsAgent
