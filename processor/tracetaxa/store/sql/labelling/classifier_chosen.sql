-- How often a classifier was chosen.
SELECT count() AS Times
FROM classifier_choices
WHERE Analysis = {analysis:String} AND ClassifierVersion = {classifier_version:String}
