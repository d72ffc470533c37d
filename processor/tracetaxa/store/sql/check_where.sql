SELECT 1 AS found FROM traces WHERE /* where */ 1 LIMIT 0
