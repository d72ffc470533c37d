-- Classifiers without their archives, newest first; of all analyses when none is named.
SELECT
    Analysis, ClassifierVersion, RunId, TaxonomyVersion, FeatureVersion, Embedding, Learned, Quality, Error, CreatedAt,
    length(Archive) AS ArchiveBytes
FROM classifiers FINAL
WHERE {analysis:String} = '' OR Analysis = {analysis:String}
ORDER BY CreatedAt DESC, ClassifierVersion
LIMIT {limit:UInt64}
