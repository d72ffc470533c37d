-- The last that people said of each trace; without a category, they took back what they had said.
SELECT *
FROM trace_labels
WHERE Labeller = 'human' AND TraceId IN {trace_ids:Array(String)} AND Analysis IN {analyses:Array(String)}
ORDER BY TaxonomyVersion DESC, Revision DESC, LabelledAt DESC
LIMIT 1 BY Analysis, TraceId
