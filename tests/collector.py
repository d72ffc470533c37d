"""A collector whose ClickHouse exporter made the tables and fills them; we are guests beside it.

The tables are what the exporter's released versions create (Map columns, plain MergeTree, one retention), said in
our own words; the inserts name the columns in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


_ATTRIBUTES = "Map(LowCardinality(String), String)"
_BLOOM = "TYPE bloom_filter({}) GRANULARITY 1"
_SETTINGS = "SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1"

SPANS = f"""
CREATE TABLE otel_traces
(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes {_ATTRIBUTES} CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes {_ATTRIBUTES} CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested(
        Timestamp DateTime64(9), Name LowCardinality(String), Attributes {_ATTRIBUTES}
    ) CODEC(ZSTD(1)),
    Links Nested(TraceId String, SpanId String, TraceState String, Attributes {_ATTRIBUTES}) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId {_BLOOM.format(0.001)},
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) {_BLOOM.format(0.01)},
    INDEX idx_res_attr_value mapValues(ResourceAttributes) {_BLOOM.format(0.01)},
    INDEX idx_span_attr_key mapKeys(SpanAttributes) {_BLOOM.format(0.01)},
    INDEX idx_span_attr_value mapValues(SpanAttributes) {_BLOOM.format(0.01)},
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
TTL toDateTime(Timestamp) + toIntervalDay(3000)
{_SETTINGS}
"""
LOOKUP = f"""
CREATE TABLE otel_traces_trace_id_ts
(
    TraceId String CODEC(ZSTD(1)),
    Start DateTime CODEC(Delta, ZSTD(1)),
    End DateTime CODEC(Delta, ZSTD(1)),
    INDEX idx_trace_id TraceId {_BLOOM.format(0.01)}
)
ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
TTL toDateTime(Start) + toIntervalDay(3000)
{_SETTINGS}
"""
LOOKUP_VIEW = """
CREATE MATERIALIZED VIEW otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts AS
SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId
"""
LOGS = f"""
CREATE TABLE otel_logs
(
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TimestampTime DateTime DEFAULT toDateTime(Timestamp),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    TraceFlags UInt8,
    SeverityText LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes {_ATTRIBUTES} CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes {_ATTRIBUTES} CODEC(ZSTD(1)),
    LogAttributes {_ATTRIBUTES} CODEC(ZSTD(1)),
    EventName String CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId {_BLOOM.format(0.001)},
    INDEX idx_log_attr_key mapKeys(LogAttributes) {_BLOOM.format(0.01)},
    INDEX idx_body Body TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8
)
ENGINE = MergeTree
PARTITION BY toDate(TimestampTime)
PRIMARY KEY (ServiceName, TimestampTime)
ORDER BY (ServiceName, TimestampTime, Timestamp)
TTL TimestampTime + toIntervalDay(3000)
{_SETTINGS}
"""
JSON_SPANS = "\n".join(
    line.replace(_ATTRIBUTES, "JSON") for line in SPANS.splitlines() if "_attr_" not in line
)
"""`json: true`, without its extra columns."""

_SPAN_COLUMNS = [
    *("Timestamp", "TraceId", "SpanId", "ParentSpanId", "TraceState", "SpanName", "SpanKind", "ServiceName"),
    *("ResourceAttributes", "ScopeName", "ScopeVersion", "SpanAttributes", "Duration", "StatusCode"),
    *("StatusMessage", "Events.Timestamp", "Events.Name", "Events.Attributes"),
    *("Links.TraceId", "Links.SpanId", "Links.TraceState", "Links.Attributes"),
]
_LOG_COLUMNS = [
    *(
        "Timestamp",
        "TraceId",
        "SpanId",
        "TraceFlags",
        "SeverityText",
        "SeverityNumber",
        "ServiceName",
        "Body",
    ),
    *("ResourceSchemaUrl", "ResourceAttributes", "ScopeSchemaUrl", "ScopeName", "ScopeVersion"),
    *("ScopeAttributes", "LogAttributes", "EventName"),
]
_RESOURCE = {"service.name": "shop"}
_STATUSES = ("Unset", "Ok", "Error")


@dataclass(frozen=True)
class Collector:
    """Its exporter, on a client whose current database has its tables."""

    client: Client

    def create_schema(self, *, lookup: bool = True) -> Collector:
        for statement in (SPANS, LOGS, LOOKUP, LOOKUP_VIEW) if lookup else (SPANS, LOGS):
            self.client.command(statement)
        return self

    def send(self, *spans: Span) -> None:
        """One insert, as the exporter makes of a batch; spans without events and links, of text attributes."""
        rows = [
            [
                *(
                    span.start_time_unix_nano,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                ),
                *("", span.name, "Internal", "shop", _RESOURCE, "", "", _texts(span)),
                *(span.end_time_unix_nano - span.start_time_unix_nano, _STATUSES[span.status.code], ""),
                *([] for _ in range(7)),
            ]
            for span in spans
        ]
        self.client.insert("otel_traces", rows, column_names=_SPAN_COLUMNS)

    def send_logs(self, *records: LogRecord) -> None:
        rows = [
            [
                *(
                    record.observed_time_unix_nano,
                    record.trace_id.hex(),
                    record.span_id.hex(),
                    0,
                    "",
                    0,
                    "shop",
                ),
                *(record.body.string_value, "", _RESOURCE, "", "", "", {}, _texts(record), record.event_name),
            ]
            for record in records
        ]
        self.client.insert("otel_logs", rows, column_names=_LOG_COLUMNS)

    def definitions(self) -> dict[str, str]:
        """SHOW CREATE of its tables."""
        found = self.client.query(
            "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() "
            "AND name IN ('otel_traces', 'otel_logs', 'otel_traces_trace_id_ts', 'otel_traces_trace_id_ts_mv')"
        )
        return dict(found.result_rows)


def _texts(item: Span | LogRecord) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in item.attributes}
