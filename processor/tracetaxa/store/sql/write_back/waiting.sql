-- Up to when labels are written back, and how many traces have newer ones.
SELECT
    (SELECT max(Through) FROM label_write_backs) AS Done,
    (SELECT uniqExact(TraceId) FROM forward_events WHERE Event = 'labelled' AND At > Done) AS Waiting
