-- The newest taxonomy that answered the same question over another window. Not the same window: a run that is made
-- again, after it was killed, must ask the same as before.
SELECT *
FROM taxonomies FINAL
WHERE Analysis = {analysis:String}
    AND Event != 'retired'
    AND TaxonomyVersion = (
        SELECT max(TaxonomyVersion)
        FROM taxonomies
        WHERE Analysis = {analysis:String}
            AND RunId IN (
                SELECT RunId
                FROM analysis_runs
                WHERE Analysis = {analysis:String}
                    AND Status IN ('complete', 'partial')
                    AND Engine = {engine:String}
                    AND JSONExtractString(Config, 'instructions') = {instructions:String}
                    AND JSONExtractString(Config, 'unit') = {unit:String}
                    AND NOT (
                        WindowStart = fromUnixTimestamp64Nano({start_ns:Int64})
                        AND WindowEnd = fromUnixTimestamp64Nano({end_ns:Int64})
                    )
            )
    )
ORDER BY Level, CategoryId
