-- The version that was chosen last; empty when none was.
SELECT argMax(ClassifierVersion, ChosenAt) AS ClassifierVersion
FROM classifier_choices
WHERE Analysis = {analysis:String}
