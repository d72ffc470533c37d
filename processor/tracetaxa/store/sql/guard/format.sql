-- Refuses several statements, and writes one canonical statement without comments.
SELECT formatQuerySingleLine({sql:String})
