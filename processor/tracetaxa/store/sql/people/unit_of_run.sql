SELECT JSONExtractString(Config, 'unit') AS Unit FROM analysis_runs WHERE RunId = {run_id:String}
