SELECT
    (SELECT count() FROM traces FINAL) AS closed_traces,
    (
        SELECT count()
        FROM traces FINAL
        WHERE IsAgent AND TraceId NOT IN (SELECT TraceId FROM trace_labels_current)
    ) AS unlabelled
