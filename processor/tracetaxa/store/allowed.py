"""What a question to the read-only SQL endpoint may use: lists only, applied by guard.py.

Everything is an allow-list, so that what a newer ClickHouse adds is refused until somebody reads about it.
Functions come from the engine's own `system.functions`, by category, because over a thousand of them only
compute from their arguments.
"""

from __future__ import annotations

import re

DATABASE_ENGINES = frozenset({"Atomic", "Ordinary", "Memory", "Replicated", "Shared"})
"""Not Overlay, which the embedded engine gives to `default`: there a table name may be the path of a file."""

SYSTEM_TABLES = frozenset(
    {
        # Sources of rows.
        "one",
        "numbers",
        "numbers_mt",
        "zeros",
        "zeros_mt",
        # What clients ask to show schemas, complete names and map types. They name tables and columns of the
        # whole engine and paths of data directories, but hold no data and no secret. Logs, processes, users,
        # grants, macros, named collections, errors and server settings stay closed.
        "tables",
        "columns",
        "databases",
        "settings",
        "functions",
        "formats",
        "data_type_families",
        "time_zones",
        "keywords",
        "aggregate_function_combinators",
    }
)

TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "values", "view"}
)
"""Lower case. They make rows from their arguments; the SELECT inside `view` is checked like any other."""

CATEGORIES = frozenset(
    {
        "Aggregate Functions",
        "Arithmetic",
        "Arrays",
        "Bit",
        "Bitmap",
        "Comparison",
        "Conditional",
        "Dates and Times",
        "Distance",
        "Encoding",
        "Geo",
        "Hash",
        "IP Address",
        "JSON",
        "Logical",
        "Map",
        "Mathematical",
        "Null",
        "Random Number",
        "Rounding",
        "String",
        "String Replacement",
        "String Search",
        "String Splitting",
        "Time Window",
        "Tuple",
        "Type Conversion",
        "URL",
        "UUID",
    }
)
"""Categories of `system.functions` that only compute. Not AI, Dictionary, Embedded Dictionary, Encryption,
Internal, Introspection, Machine Learning (reads model files) and Time Series (keeps state in the query)."""

FUNCTIONS = frozenset(
    {
        # Category Other mixes formatting with files, settings, sleeping and host names.
        "bar",
        "byteSize",
        "countDigits",
        "currentDatabase",
        "currentUser",
        "defaultValueOfArgumentType",
        "defaultValueOfTypeName",
        "digits",
        "displayName",  # clickhouse-go asks for it on connect
        "errorCodeToName",
        "finalizeAggregation",
        "formatReadableDecimalSize",
        "formatReadableQuantity",
        "formatReadableSize",
        "formatReadableTimeDelta",
        "getSizeOfEnumType",
        "identity",
        "ignore",
        "indexHint",
        "isConstant",
        "isDecimalOverflow",
        "materialize",
        "minSampleSizeContinuous",
        "minSampleSizeConversion",
        "neighbor",
        "normalizeQuery",
        "normalizedQueryHash",
        "parseReadableSize",
        "parseReadableSizeOrNull",
        "parseReadableSizeOrZero",
        "parseTimeDelta",
        "revision",
        "rowNumberInAllBlocks",
        "rowNumberInBlock",
        "runningDifference",
        "runningDifferenceStartingWithFirstValue",
        "throwIf",
        "toColumnTypeName",
        "toTypeName",
        "transform",
        "uptime",
        "version",
        "visibleWidth",
        # Category Time Series: these two keep no state.
        "seriesDecomposeSTL",
        "seriesOutliersDetectTukey",
        # Category Internal: what the parser makes of CASE x WHEN.
        "caseWithExpression",
    }
)

SYNTAX_FUNCTIONS = frozenset({"lambda", "exists", "untuple", "grouping"})
"""The parser writes them as functions, `system.functions` doesn't list them."""

DENIED_FUNCTIONS = frozenset(
    {
        # Their formats may open schema and template files.
        "formatRow",
        "formatRowNoNewline",
        "groupFormat",
        # Stack addresses; and a function that only fails.
        "flameGraph",
        "aggThrow",
    }
)
"""Out of the categories above."""

CAST_FUNCTIONS = frozenset(
    {"cast", "_cast", "accuratecast", "accuratecastornull", "accuratecastordefault", "reinterpret"}
)
"""Lower case. Their second argument names a type. An AggregateFunction type would load a binary state that
the caller made up, which that code was not written for."""

NODES: dict[str, frozenset[str]] = {
    kind: frozenset(fields.split())
    for kind, fields in {
        "ArrayJoin": "kind expression_list",
        "Asterisk": "expression transformers",
        "ColumnsApplyTransformer": "func_name parameters lambda lambda_arg",
        "ColumnsExceptTransformer": "children pattern is_strict",
        "ColumnsListMatcher": "expression column_list transformers",
        "ColumnsRegexpMatcher": "expression pattern transformers",
        "ColumnsReplaceTransformer": "children is_strict",
        "ColumnsReplaceTransformerReplacement": "name children",
        "ColumnsTransformerList": "children",
        "ExpressionList": "children",
        "Function": "name arguments parameters is_operator is_lambda_function kind window_definition "
        "is_window_function window_name nulls_action",
        "Identifier": "name name_parts",
        "InterpolateElement": "column expr",
        "Literal": "value",
        "OrderByElement": "direction nulls_direction expression collation "
        "with_fill fill_from fill_to fill_step fill_staleness",
        "QualifiedAsterisk": "qualifier transformers",
        "QueryParameter": "name param_type",
        "SampleRatio": "numerator denominator",
        "SelectQuery": "with recursive_with cte_aliases select distinct tables prewhere where "
        "group_by group_by_all group_by_with_totals group_by_with_rollup group_by_with_cube "
        "group_by_with_grouping_sets having qualify window order_by order_by_all interpolate "
        "limit_by_offset limit_by_length limit_by limit_by_all limit_offset limit_length limit_with_ties",
        "SelectWithUnionQuery": "union_mode list_of_modes list_of_selects",
        "Subquery": "children cte_name",
        "TableExpression": "database_and_table_name table_function subquery final sample_size sample_offset "
        "column_aliases",
        "TableIdentifier": "name name_parts",
        "TableJoin": "kind strictness locality on_expression using_expression_list",
        "TablesInSelectQuery": "children",
        "TablesInSelectQueryElement": "table_join table_expression array_join",
        "WindowDefinition": "parent_window_name partition_by order_by frame_is_default frame_type "
        "frame_begin_type frame_begin_offset frame_begin_preceding frame_end_type frame_end_offset "
        "frame_end_preceding",
        "WindowListElement": "name definition",
        "WithElement": "name subquery is_materialized aliases",
    }.items()
}
"""Node types of `parseQueryToJSON` and their fields, besides `type` and `alias`. Other fields, such as
`out_file` and `stream_settings`, are refused unless they are false."""

PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

FORMATS = {
    **dict.fromkeys(
        ["JSON", "JSONStrings", "JSONCompact", "JSONCompactStrings", "JSONColumns", "JSONCompactColumns"],
        "application/json; charset=UTF-8",
    ),
    **dict.fromkeys(["JSONColumnsWithMetadata", "JSONObjectEachRow"], "application/json; charset=UTF-8"),
    **dict.fromkeys(
        [
            "JSONEachRow",
            "JSONLines",
            "NDJSON",
            "JSONStringsEachRow",
            "PrettyJSONEachRow",
            "JSONCompactEachRow",
            "JSONCompactEachRowWithNames",
            "JSONCompactEachRowWithNamesAndTypes",
            "JSONCompactStringsEachRow",
            "JSONCompactStringsEachRowWithNames",
            "JSONCompactStringsEachRowWithNamesAndTypes",
        ],
        "application/x-ndjson; charset=UTF-8",
    ),
    **dict.fromkeys(["CSV"], "text/csv; charset=UTF-8; header=absent"),
    **dict.fromkeys(["CSVWithNames", "CSVWithNamesAndTypes"], "text/csv; charset=UTF-8; header=present"),
    **dict.fromkeys(
        [
            "TabSeparated",
            "TabSeparatedWithNames",
            "TabSeparatedWithNamesAndTypes",
            "TabSeparatedRaw",
            "TabSeparatedRawWithNames",
            "TabSeparatedRawWithNamesAndTypes",
            "TSV",
            "TSVWithNames",
            "TSVWithNamesAndTypes",
            "TSVRaw",
            "TSVRawWithNames",
            "TSVRawWithNamesAndTypes",
            "TSKV",
        ],
        "text/tab-separated-values; charset=UTF-8",
    ),
    **dict.fromkeys(
        [
            "Markdown",
            "Null",
            "Pretty",
            "PrettyCompact",
            "PrettyCompactMonoBlock",
            "PrettyCompactNoEscapes",
            "PrettyMonoBlock",
            "PrettyNoEscapes",
            "PrettySpace",
            "PrettySpaceNoEscapes",
            "Values",
            "Vertical",
        ],
        "text/plain; charset=UTF-8",
    ),
    **dict.fromkeys(
        ["Native", "RowBinary", "RowBinaryWithNames", "RowBinaryWithNamesAndTypes"],
        "application/octet-stream",
    ),
}
"""Output formats and their media types. The rest need schema files, Arrow libraries or a wire protocol."""

SETTINGS = frozenset(
    {
        "aggregate_functions_null_for_empty",
        "any_join_distinct_right_table_keys",
        "cast_keep_nullable",
        "cast_string_to_dynamic_use_inference",
        "date_time_input_format",
        "date_time_output_format",
        "empty_result_for_aggregation_by_empty_set",
        "extremes",
        "final",
        "format_csv_delimiter",
        "group_by_overflow_mode",
        "group_by_use_nulls",
        "join_default_strictness",
        "join_overflow_mode",
        "join_use_nulls",
        "joined_subquery_requires_alias",
        "limit",
        "max_block_size",
        "max_bytes_to_read",
        "max_result_rows",
        "max_rows_in_join",
        "max_rows_to_group_by",
        "max_rows_to_read",
        "offset",
        "output_format_csv_crlf_end_of_line",
        "output_format_decimal_trailing_zeros",
        "output_format_write_statistics",
        "prefer_column_name_to_alias",
        "read_overflow_mode",
        "result_overflow_mode",
        "session_timezone",
        "timeout_overflow_mode",
        "totals_mode",
        "transform_null_in",
        "union_default_mode",
    }
)
SETTING_PREFIXES = ("output_format_json_", "output_format_pretty_", "output_format_tsv_")

CAPPED_SETTINGS = frozenset({"max_execution_time", "max_memory_usage", "max_result_bytes", "max_threads"})
"""May be lowered, not raised: what is asked above the endpoint's own limit counts as the limit."""

IGNORED_SETTINGS = frozenset(
    {
        # Of the transport, of other transports, or without meaning for one SELECT at a time.
        "add_http_cors_header",
        "allow_experimental_analyzer",
        "buffer_size",
        "cancel_http_readonly_queries_on_client_close",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "http_response_buffer_size",
        "http_zlib_compression_level",
        "log_comment",
        "log_queries",
        "max_query_size",
        "network_compression_method",
        "network_zstd_compression_level",
        "queue_max_wait_ms",
        "quota_key",
        "readonly",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "wait_end_of_query",
    }
)
"""Accepted, because clients send them, and without effect."""


def is_allowed_setting(name: str) -> bool:
    return (
        name in SETTINGS
        or name in CAPPED_SETTINGS
        or name in IGNORED_SETTINGS
        or name.startswith(SETTING_PREFIXES)
    )
