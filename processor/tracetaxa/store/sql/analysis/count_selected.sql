-- Selected units by stratum, the largest first. Without strata there is one, of no name.
SELECT
    /* include stratum */ AS Stratum,
    count() AS selected
FROM {source:Identifier} FINAL
WHERE /* include selection */
GROUP BY Stratum
ORDER BY selected DESC, Stratum
