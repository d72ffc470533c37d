SELECT 1 AS found FROM {source:Identifier} WHERE /* where */ 1 LIMIT 0
