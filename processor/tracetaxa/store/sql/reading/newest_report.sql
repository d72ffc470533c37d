SELECT *
FROM reports FINAL
WHERE {analysis:String} = '' OR Analysis = {analysis:String}
ORDER BY CreatedAt DESC, RunId
LIMIT 1
