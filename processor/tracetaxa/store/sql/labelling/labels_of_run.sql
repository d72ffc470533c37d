-- What a run said of each trace of its sample, with how the trace stands for others. Labels that came after the run
-- under its id, of traces that a classifier was unsure of, are not the run's.
SELECT
    TraceId,
    CategoryId,
    SubcategoryId,
    Confidence,
    Reason,
    Attributes,
    Stratum,
    InclusionProbability
FROM
(
    SELECT
        TraceId,
        argMax(CategoryId, LabelledAt) AS CategoryId,
        argMax(SubcategoryId, LabelledAt) AS SubcategoryId,
        argMax(Confidence, LabelledAt) AS Confidence,
        argMax(Reason, LabelledAt) AS Reason,
        argMax(Attributes, LabelledAt) AS Attributes
    FROM trace_labels
    WHERE Analysis = {analysis:String}
        AND RunId = {run_id:String}
        AND LabelledAt <= fromUnixTimestamp64Nano({finished_ns:Int64})
        AND TraceId IN (SELECT TraceId FROM run_samples WHERE RunId = {run_id:String})
    GROUP BY TraceId
) AS labels
INNER JOIN
(
    SELECT TraceId, any(Stratum) AS Stratum, any(InclusionProbability) AS InclusionProbability
    FROM run_samples
    WHERE RunId = {run_id:String}
    GROUP BY TraceId
) AS sample USING (TraceId)
ORDER BY TraceId
