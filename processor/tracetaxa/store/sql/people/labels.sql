SELECT *
FROM trace_labels_current
WHERE Labeller = 'human'
    AND ({analysis:String} = '' OR Analysis = {analysis:String})
    AND ({trace_id:String} = '' OR TraceId = {trace_id:String})
    AND ({session_id:String} = '' OR SessionId = {session_id:String})
ORDER BY LabelledAt DESC, Analysis, TraceId
LIMIT {most:UInt64}
