-- A random sample of one stratum (or of all but the named ones) without replacement: the order of a keyed hash is
-- random, and the same for one seed. With {alike:String}, each with a hash of what it says and did: near-duplicates have
-- the same. With 'numbers' all numbers and times are alike in it, and words and ids with a digit in them; with 'exact'
-- only those in the first line, the facts.
SELECT
    *,
    if({alike:String} = '', 0, sipHash64(
        Status, ErrorCount > 0, LlmCalls, ToolCalls, Tools, LastToolBeforeError,
        mapKeys(Feedback), mapValues(Feedback), DigestKinds,
        arrayMap((kind, text) -> if({alike:String} = 'exact' AND kind != 'facts', text,
            trimBoth(replaceRegexpAll(replaceRegexpAll(
                lowerUTF8(text),
                '[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-z]*[0-9][0-9a-z]*([.,:/_-][0-9][0-9a-z]*)*', '0'), '\\s+', ' '))),
            DigestKinds, DigestTexts))) AS Likeness
FROM
(
    SELECT *
    FROM {source:Identifier} FINAL
    WHERE /* include selection */
        AND {inverse:Bool} != has({among:Array(String)}, /* include stratum */)
    ORDER BY sipHash64(TraceId, {seed:Int64}), TraceId
    LIMIT {size:UInt64}
)
ORDER BY sipHash64(TraceId, {seed:Int64}), TraceId
