-- A uniform sample without replacement: the order of a keyed hash is random and the same for one seed.
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
ORDER BY sipHash64(TraceId, {seed:Int64}), TraceId
LIMIT {size:UInt64}
