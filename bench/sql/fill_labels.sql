-- Labels of every {every}th trace, as a run writes them.
INSERT INTO trace_labels
    (Analysis, RunId, TaxonomyVersion, TraceId, Revision, TraceStart, ServiceName, CategoryId, Category, SubcategoryId,
    Subcategory, Confidence, Labeller, Reason, Attributes, LabelledAt)
SELECT
    'topics', 'bench', {version:UInt32}, lower(hex(sipHash128(number * {every:UInt64}))), 1,
    fromUnixTimestamp64Nano(toInt64({start_ns:Int64} + number * {every:UInt64} * {step_ns:Int64})),
    concat('service-', toString(number * {every:UInt64} % 20)),
    concat('category_', toString(number % 9)), concat('Category ', toString(number % 9)),
    concat('subcategory_', toString(number % 40)), concat('Subcategory ', toString(number % 40)),
    0.9, 'llm', 'because', map('frustrated', 'false'), now64(9)
FROM numbers({labels:UInt64})
