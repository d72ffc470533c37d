-- Selected units by stratum, the largest first. Without strata there is one, of no name.
SELECT
    arrayStringConcat(arrayMap(name -> multiIf(
        name = 'error', if(Status = 'Error' OR ErrorCount > 0, 'error', 'no error'),
        name = 'latency', multiIf(DurationMs < 1000, 'under 1 s', DurationMs < 10000, '1 to 10 s', DurationMs < 60000, '10 to 60 s', 'over 60 s'),
        name = 'feedback', multiIf(empty(Feedback), 'no feedback', arrayMin(mapValues(Feedback)) < 0.5, 'low feedback', 'good feedback'),
        name = 'tools', if(hasAny(Tools, {chosen_tools:Array(String)}), 'used the tools', 'other tools'),
        Attributes[name]), {strata:Array(String)}), ' · ') AS Stratum,
    count() AS selected
FROM {source:Identifier} FINAL
WHERE Start >= fromUnixTimestamp64Nano({start_ns:Int64})
    AND Start < fromUnixTimestamp64Nano({end_ns:Int64})
    AND (NOT {agent_only:Bool} OR IsAgent)
    AND (empty({services:Array(String)}) OR has({services:Array(String)}, ServiceName))
    AND (empty({statuses:Array(String)}) OR has({statuses:Array(String)}, toString(Status)))
    AND (empty({tools:Array(String)}) OR hasAny(Tools, {tools:Array(String)}))
    AND DurationMs >= {min_ms:Float64} AND (isNull({max_ms:Nullable(Float64)}) OR DurationMs < {max_ms:Nullable(Float64)})
    AND (empty({feedback:Array(String)}) AND isNull({feedback_below:Nullable(Float64)}) AND isNull({feedback_above:Nullable(Float64)})
        OR arrayExists((name, score) -> (empty({feedback:Array(String)}) OR has({feedback:Array(String)}, name))
            AND (isNull({feedback_below:Nullable(Float64)}) OR score < {feedback_below:Nullable(Float64)})
            AND (isNull({feedback_above:Nullable(Float64)}) OR score > {feedback_above:Nullable(Float64)}), mapKeys(Feedback), mapValues(Feedback)))
    AND arrayAll((name, values) -> has(values, Attributes[name]), {attribute_names:Array(String)}, {attribute_values:Array(Array(String))})
    AND /* where */ 1
GROUP BY Stratum
ORDER BY selected DESC, Stratum
