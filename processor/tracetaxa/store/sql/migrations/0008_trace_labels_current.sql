CREATE VIEW IF NOT EXISTS trace_labels_current AS
SELECT * EXCEPT (Precedence)
FROM trace_label_winners
FINAL
