-- What a unit is in each of {strata}.
arrayStringConcat(arrayMap(name -> multiIf(
    name = 'error', if(Status = 'Error' OR ErrorCount > 0, 'error', 'no error'),
    name = 'latency', multiIf(DurationMs < 1000, 'under 1 s', DurationMs < 10000, '1 to 10 s', DurationMs < 60000, '10 to 60 s', 'over 60 s'),
    name = 'feedback', multiIf(empty(Feedback), 'no feedback', arrayMin(mapValues(Feedback)) < 0.5, 'low feedback', 'good feedback'),
    name = 'tools', if(hasAny(Tools, {chosen_tools:Array(String)}), 'used the tools', 'other tools'),
    Attributes[name]), {strata:Array(String)}), ' · ')
