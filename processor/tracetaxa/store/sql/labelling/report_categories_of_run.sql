SELECT * FROM report_categories FINAL WHERE Analysis = {analysis:String} AND RunId = {run_id:String} ORDER BY Level, CategoryId
