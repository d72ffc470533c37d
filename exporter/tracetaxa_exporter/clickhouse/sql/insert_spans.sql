-- A stream of Row messages (spans.proto) as rows of otel_traces, spelled as the collector's ClickHouse exporter spells
-- them. `input` is what follows this statement; the embedded engine reads a file instead. Marks in comments are filled
-- in by writer.py. The columns are read one by one, and nothing is said twice, since ClickHouse analyses this at each
-- insert: as one nested column it takes five times as long. Spans that are unusual make it throw, and come again in
-- usual words (SpanRows.rewrite).
INSERT INTO otel_traces (/* columns */)
SETTINGS
    format_schema_source = '/* schema source */',
    format_schema = '/* schema */',
    format_schema_message_name = 'Row',
    -- Fills `kind` with the member of a oneof that was sent, or none.
    input_format_protobuf_oneof_presence = 1,
    output_format_json_escape_forward_slashes = 0,
    max_threads = 1,
    -- Newer servers put small inserts into a queue of their own by default; requests are already grouped here.
    async_insert = 0,
    -- A batch may span many days (an import, a sender that was offline); wild times are rejected before.
    max_partitions_per_insert_block = 0,
    -- Duplicates within one insert are left to merges and FINAL, like those of two inserts: looking for them here
    -- costs a fifth of the insert.
    optimize_on_insert = 0
SELECT /* columns */
FROM
(
    SELECT
        fromUnixTimestamp64Nano(`span.start`) AS Timestamp,
        lower(hex(`span.trace_id`)) AS TraceId,
        lower(hex(`span.span_id`)) AS SpanId,
        -- OTLP lets senders write an absent id as zeros.
        lower(hex(if(`span.parent_id` = unhex('0000000000000000'), '', `span.parent_id`))) AS ParentSpanId,
        `span.trace_state` AS TraceState,
        `span.name` AS SpanName,
        -- Enums are open in protobuf: a number that this version does not know is possible, and has no name.
        transform(
            `span.kind`,
            [0, 1, 2, 3, 4, 5],
            ['Unspecified', 'Internal', 'Server', 'Client', 'Producer', 'Consumer'],
            ''
        ) AS SpanKind,
        `origin.service` AS ServiceName,
        `origin.resource` AS ResourceAttributes,
        `origin.scope` AS ScopeName,
        `origin.version` AS ScopeVersion,
        mapFromArrays(`span.attributes.key`, values) AS SpanAttributes,
        toUInt64(greatest(`span.end` - `span.start`, 0)) AS Duration,
        transform(`span.status.code`, [0, 1, 2], ['Unset', 'Ok', 'Error'], '') AS StatusCode,
        `span.status.message` AS StatusMessage,
        arrayMap(time -> fromUnixTimestamp64Nano(time), `events.time`) AS `Events.Timestamp`,
        `events.name` AS `Events.Name`,
        `events.attributes` AS `Events.Attributes`,
        `links.trace_id` AS `Links.TraceId`,
        `links.span_id` AS `Links.SpanId`,
        `links.trace_state` AS `Links.TraceState`,
        `links.attributes` AS `Links.Attributes`,
        bitAnd(`span.flags`, 0x300) = 0x300 AS ParentIsRemote
    FROM
    (
        SELECT
            *,
            arrayMap(
                (kind, text, truth, whole, number, texts, pairs, data) -> if(
                    kind = 'text',
                    text,
                    multiIf(
                        kind = 'whole', toString(whole),
                        -- As Go's encoding/json: 1e+21, and no word for what is no number.
                        kind = 'number', if(
                            isFinite(number),
                            replaceRegexpOne(toString(number), 'e([0-9])', 'e+\\1'),
                            'json: unsupported value: ' || multiIf(isNaN(number), 'NaN', number > 0, '+Inf', '-Inf')
                        ),
                        kind = 'truth', if(truth, 'true', 'false'),
                        kind = 'texts', toJSONString(texts),
                        kind = 'data', base64Encode(data),
                        -- Only members that are used are told by `kind`. These never get further than this.
                        kind = 'pairs', pairs,
                        ''
                    )
                ),
                `span.attributes.value.kind`,
                `span.attributes.value.text`,
                `span.attributes.value.truth`,
                `span.attributes.value.whole`,
                `span.attributes.value.number`,
                `span.attributes.value.texts.values.text`,
                `span.attributes.value.pairs`,
                `span.attributes.value.data`
            ) AS values
        FROM input('
            `span.trace_id` String,
            `span.span_id` String,
            `span.trace_state` String,
            `span.parent_id` String,
            `span.name` LowCardinality(String),
            `span.kind` Int32,
            `span.start` Int64,
            `span.end` Int64,
            `span.attributes.key` Array(LowCardinality(String)),
            `span.attributes.value.kind` Array(Enum8(
                ''none'' = 0, ''text'' = 1, ''truth'' = 2, ''whole'' = 3, ''number'' = 4,
                ''texts'' = 5, ''pairs'' = 6, ''data'' = 7
            )),
            `span.attributes.value.text` Array(String),
            `span.attributes.value.truth` Array(Bool),
            `span.attributes.value.whole` Array(Int64),
            `span.attributes.value.number` Array(Float64),
            `span.attributes.value.texts.values.kind` Array(Array(Enum8(''none'' = 0, ''text'' = 1))),
            `span.attributes.value.texts.values.text` Array(Array(String)),
            `span.attributes.value.pairs` Array(String),
            `span.attributes.value.data` Array(String),
            `span.status.message` String,
            `span.status.code` Int32,
            `span.flags` UInt32,
            `origin.resource` Map(LowCardinality(String), String),
            `origin.service` LowCardinality(String),
            `origin.scope` String,
            `origin.version` String,
            `events.time` Array(Int64),
            `events.name` Array(LowCardinality(String)),
            `events.attributes` Array(Map(LowCardinality(String), String)),
            `links.trace_id` Array(String),
            `links.span_id` Array(String),
            `links.trace_state` Array(String),
            `links.attributes` Array(Map(LowCardinality(String), String))
        ')
        WHERE NOT throwIf(
            arrayUniq(`span.attributes.key`) != length(`span.attributes.key`)
            OR has(`span.attributes.value.kind`, 'pairs')
            OR has(arrayFlatten(`span.attributes.value.texts.values.kind`), 'none'),
            'a span with a key that comes twice, or a list of other things than strings'
        )
    )
)
FORMAT Protobuf
