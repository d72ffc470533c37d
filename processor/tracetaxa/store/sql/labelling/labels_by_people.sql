-- The newest labels that people gave, and that stand.
SELECT TraceId, CategoryId, SubcategoryId
FROM trace_labels_current
WHERE Analysis = {analysis:String} AND Labeller = 'human'
ORDER BY LabelledAt DESC, TraceId
LIMIT {limit:UInt64}
