SELECT * FROM analysis_runs WHERE RunId = {run_id:String}
