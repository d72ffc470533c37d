-- The population of each stratum of a run's sample.
SELECT Stratum, sum(Weight) AS Population
FROM run_samples FINAL
WHERE RunId = {run_id:String}
GROUP BY Stratum
ORDER BY Stratum
