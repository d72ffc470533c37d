-- A person's label with an empty category takes back what people said before: then the best label that no person gave
-- is current, in the order of trace_label_winners_mv. The winners may have merged it away, so it comes from the history.
CREATE OR REPLACE VIEW trace_labels_current AS
SELECT * EXCEPT (Precedence)
FROM trace_label_winners
FINAL
WHERE CategoryId != ''
UNION ALL
SELECT *
FROM trace_labels
WHERE Labeller != 'human'
    AND (Analysis, TraceId) IN (
        SELECT Analysis, TraceId
        FROM trace_labels
        WHERE Labeller = 'human'
        GROUP BY Analysis, TraceId
        HAVING argMax(CategoryId, (TaxonomyVersion, Revision, LabelledAt)) = ''
    )
ORDER BY TaxonomyVersion DESC, Revision DESC, Labeller, LabelledAt DESC
LIMIT 1 BY Analysis, TraceId
