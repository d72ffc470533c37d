SELECT *
FROM taxonomies FINAL
WHERE Analysis = {analysis:String}
    AND TaxonomyVersion = (SELECT max(TaxonomyVersion) FROM taxonomies WHERE Analysis = {analysis:String})
ORDER BY Level, CategoryId
