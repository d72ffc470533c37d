-- Whether a unit is in the selection of an analysis.
Start >= fromUnixTimestamp64Nano({start_ns:Int64})
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
