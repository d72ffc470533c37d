-- Labels of some traces as otel_traces_labelled has them: trace id → attributes.
(
    SELECT mapFromArrays(groupArray(TraceId), groupArray(LabelAttributes))
    FROM
    (
        SELECT
            TraceId,
            mapFromArrays(groupArrayArray(Keys), groupArrayArray(Values)) AS LabelAttributes
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
            WHERE TraceId IN {trace_ids:Array(String)}
        )
        GROUP BY TraceId
    )
)
