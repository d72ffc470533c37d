-- The newest of the classifiers of a version.
SELECT *
FROM classifiers FINAL
WHERE Analysis = {analysis:String} AND ClassifierVersion = {classifier_version:String} AND Archive != ''
ORDER BY CreatedAt DESC
LIMIT 1
