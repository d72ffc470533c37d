CREATE MATERIALIZED VIEW IF NOT EXISTS trace_label_winners_mv TO trace_label_winners AS
SELECT
    *,
    bitShiftLeft(toUInt128(Labeller = 'human'), 120)
        + bitShiftLeft(toUInt128(TaxonomyVersion), 88)
        + bitShiftLeft(toUInt128(Revision), 56)
        + bitShiftLeft(toUInt128(5 - toUInt8(Labeller)), 48)
        + toUInt128(toUnixTimestamp64Milli(LabelledAt)) AS Precedence
FROM trace_labels
