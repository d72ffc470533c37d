SELECT *
FROM label_progress FINAL
WHERE Analysis = {analysis:String} AND ClassifierVersion = {classifier_version:String}
