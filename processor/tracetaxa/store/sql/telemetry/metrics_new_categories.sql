-- Categories that came up since, in analyses that had a taxonomy before.
SELECT *
FROM taxonomies FINAL
WHERE Event = 'new' AND TaxonomyVersion > 1 AND CreatedAt >= fromUnixTimestamp64Nano({since_ns:Int64})
ORDER BY CreatedAt, Analysis, Level, CategoryId
LIMIT {most:UInt64}
