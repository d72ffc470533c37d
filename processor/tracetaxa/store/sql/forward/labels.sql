-- The labels that count now, of some traces, with the hash by which deliveries know them. A run that is not done may
-- still find out how sure its labels are.
SELECT
    TraceId,
    Revision,
    Analysis,
    RunId,
    TaxonomyVersion,
    CategoryId,
    Category,
    SubcategoryId,
    Subcategory,
    Confidence,
    toString(Labeller) AS Labeller,
    ClassifierVersion,
    Reason,
    Evidence,
    EvidenceSpanId,
    Attributes,
    LabelledAt,
    RunId NOT IN (SELECT RunId FROM analysis_runs WHERE Status = 'running') AS IsFinal,
    sipHash64(
        toString(Analysis), toString(CategoryId), toString(Category), toString(SubcategoryId), toString(Subcategory),
        toString(Labeller), toString(mapSort(Attributes))
    ) AS Identity
FROM trace_labels_current
WHERE TraceId IN {trace_ids:Array(String)}
ORDER BY TraceId, Analysis
