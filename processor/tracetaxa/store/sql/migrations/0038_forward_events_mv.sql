-- The hash leaves out what may differ between two rows that say the same of a trace: its revision, the run and
-- taxonomy version, the confidence and the time. forward/labels.sql has the same expression.
CREATE MATERIALIZED VIEW IF NOT EXISTS forward_events_mv TO forward_events AS
SELECT
    now64(9) AS At,
    'labelled' AS Event,
    TraceId,
    Revision,
    Analysis,
    [sipHash64(
        toString(Analysis), toString(CategoryId), toString(Category), toString(SubcategoryId), toString(Subcategory),
        toString(Labeller), toString(mapSort(Attributes))
    )] AS Labels
FROM trace_labels
