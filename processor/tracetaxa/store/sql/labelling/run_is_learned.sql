-- Whether all that is to be learned from a run is, or there is a reason why nothing can be.
SELECT countIf(Estimated OR Error != '') AS done FROM classifiers WHERE Analysis = {analysis:String} AND RunId = {run_id:String}
