-- A random sample of one stratum (or of all but the named ones) without replacement: the order of a keyed hash is
-- random, and the same for one seed.
SELECT *
FROM {source:Identifier} FINAL
WHERE Start >= fromUnixTimestamp64Nano({start_ns:Int64})
    AND Start < fromUnixTimestamp64Nano({end_ns:Int64})
    AND (NOT {agent_only:Bool} OR IsAgent)
    AND ({service:String} = '' OR ServiceName = {service:String})
    AND ({status:String} = '' OR Status = {status:String})
    AND ({tool:String} = '' OR has(Tools, {tool:String}))
    AND (isNull({feedback_below:Nullable(Float64)})
        OR arrayExists(score -> score < {feedback_below:Nullable(Float64)}, mapValues(Feedback)))
    AND arrayAll((name, value) -> Attributes[name] = value, {attribute_names:Array(String)}, {attribute_values:Array(String)})
    AND /* where */ 1
    AND {inverse:Bool} != has({among:Array(String)}, arrayStringConcat(arrayMap(name -> multiIf(
        name = 'error', if(Status = 'Error' OR ErrorCount > 0, 'error', 'no error'),
        name = 'latency', multiIf(DurationMs < 1000, 'under 1 s', DurationMs < 10000, '1 to 10 s', DurationMs < 60000, '10 to 60 s', 'over 60 s'),
        name = 'feedback', multiIf(empty(Feedback), 'no feedback', arrayMin(mapValues(Feedback)) < 0.5, 'low feedback', 'good feedback'),
        name = 'tools', if(hasAny(Tools, {chosen_tools:Array(String)}), 'used the tools', 'other tools'),
        Attributes[name]), {strata:Array(String)}), ' · '))
ORDER BY sipHash64(TraceId, {seed:Int64}), TraceId
LIMIT {size:UInt64}
