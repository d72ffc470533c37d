-- Closed traces of a selection whose newest revision has no label of this taxonomy, a newer one, or a person.
SELECT countIf(labels.Revision < closed.Revision) AS unlabelled
FROM
(
    SELECT TraceId, Revision
    FROM traces FINAL
    WHERE /* include selection */
) AS closed
LEFT ANY JOIN
(
    SELECT TraceId, if(Labeller = 'human', toUInt32(4294967295), Revision) AS Revision
    FROM trace_labels_current
    WHERE Analysis = {analysis:String} AND (TaxonomyVersion >= {taxonomy_version:UInt32} OR Labeller = 'human')
) AS labels ON closed.TraceId = labels.TraceId
