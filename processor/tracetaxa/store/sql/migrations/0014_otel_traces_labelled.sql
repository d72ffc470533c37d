-- Every span, once, with the labels of its trace as attributes; a label wins over an attribute of that name.
CREATE VIEW IF NOT EXISTS otel_traces_labelled AS
SELECT
    spans.* REPLACE (
        CAST(
            mapUpdate(spans.SpanAttributes, labels.LabelAttributes),
            'Map(LowCardinality(String), String)'
        ) AS SpanAttributes
    )
FROM otel_traces_once AS spans
LEFT ANY JOIN
(
    SELECT
        TraceId,
        mapFromArrays(
            CAST(groupArrayArray(Keys), 'Array(LowCardinality(String))'),
            groupArrayArray(Values)
        ) AS LabelAttributes
    FROM
    (
        SELECT
            TraceId,
            concat('tracetaxa.', Analysis, '.') AS Prefix,
            arrayConcat(
                [
                    concat(Prefix, 'category'), concat(Prefix, 'category_id'),
                    concat(Prefix, 'subcategory'), concat(Prefix, 'subcategory_id'),
                    concat(Prefix, 'confidence'), concat(Prefix, 'labeller'),
                    concat(Prefix, 'taxonomy_version'), concat(Prefix, 'run_id')
                ],
                arrayMap(name -> concat(Prefix, 'attribute.', name), mapKeys(Attributes))
            ) AS Keys,
            arrayConcat(
                [
                    toString(Category), toString(CategoryId),
                    toString(Subcategory), toString(SubcategoryId),
                    toString(round(Confidence, 4)), toString(Labeller),
                    toString(TaxonomyVersion), RunId
                ],
                mapValues(Attributes)
            ) AS Values
        FROM trace_labels_current
    )
    GROUP BY TraceId
) AS labels ON spans.TraceId = labels.TraceId
