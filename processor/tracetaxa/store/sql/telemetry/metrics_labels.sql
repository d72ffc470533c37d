-- Labels that count now, of traces that started since: trace_labels_current of a time, without reading the rest.
WITH
    (Analysis, TraceId) AS Labelled,
    (TaxonomyVersion, Revision, -toInt8(Labeller), LabelledAt) AS Precedence,
    (CategoryId, Category, toString(Labeller)) AS Said
SELECT
    Analysis,
    Counted.1 AS CategoryId,
    any(Counted.2) AS Category,
    Counted.3 AS Labeller,
    count() AS Traces
FROM
(
    SELECT
        Analysis,
        argMaxIf(Said, Precedence, Labeller = 'human') AS Person,
        argMaxIf(Said, Precedence, Labeller != 'human') AS Program,
        if(Person.1 != '', Person, Program) AS Counted
    FROM trace_labels
    WHERE TraceStart >= fromUnixTimestamp64Nano({since_ns:Int64})
    GROUP BY Labelled, Analysis
)
WHERE Counted.1 != ''
GROUP BY Analysis, CategoryId, Labeller
ORDER BY Analysis, CategoryId, Labeller
