SELECT * FROM reports FINAL WHERE RunId = {run_id:String}
