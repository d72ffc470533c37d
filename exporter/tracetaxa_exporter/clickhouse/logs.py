"""OTLP log records as rows of `otel_logs`, spelled as the collector's ClickHouse exporter spells them."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tracetaxa_exporter.clickhouse.rows import Rejected, Row, TimeLimits, id_text
from tracetaxa_exporter.clickhouse.values import text, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

LOG_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Timestamp": "DateTime64(9)",
        "TraceId": "String",
        "SpanId": "String",
        "TraceFlags": "UInt8",
        "SeverityText": "LowCardinality(String)",
        "SeverityNumber": "UInt8",
        "ServiceName": "LowCardinality(String)",
        "Body": "String",
        "ResourceSchemaUrl": "LowCardinality(String)",
        "ResourceAttributes": "Map(LowCardinality(String), String)",
        "ScopeSchemaUrl": "LowCardinality(String)",
        "ScopeName": "String",
        "ScopeVersion": "LowCardinality(String)",
        "ScopeAttributes": "Map(LowCardinality(String), String)",
        "LogAttributes": "Map(LowCardinality(String), String)",
        "EventName": "String",
    }
)
"""Name and ClickHouse type of each column, in the order of the table and of a row."""

_TRACE_FLAGS = 0xFF
"""The W3C's flags; the other bits of OTLP's are reserved."""


def append_log_rows(rows: list[Row], request: ExportLogsServiceRequest, limits: TimeLimits) -> Rejected:
    """Append a row for each good log record of `request`, in order; say which were left out and why.

    A record's time is when it happened, else when it was observed. It is rejected when that is outside
    `limits` or absent, or when an id is neither empty nor of 16 and 8 bytes: log records need no trace.
    """
    oldest_ns, latest_ns = limits.oldest_ns, limits.latest_ns
    rejected: Counter[str] = Counter()
    for resource_logs in request.resource_logs:
        resource = texts(resource_logs.resource.attributes)
        service = resource.get("service.name", "")
        resource_schema = resource_logs.schema_url
        for scope_logs in resource_logs.scope_logs:
            scope, scope_schema = scope_logs.scope, scope_logs.schema_url
            scope_name, scope_version, scope_attributes = scope.name, scope.version, texts(scope.attributes)
            for record in scope_logs.log_records:
                trace_id, span_id = record.trace_id, record.span_id
                time_ns = _time_ns(record)
                if (
                    len(trace_id) not in (0, 16)
                    or len(span_id) not in (0, 8)
                    or not oldest_ns <= time_ns <= latest_ns
                ):
                    rejected[_reason(record, limits)] += 1
                    continue
                severity = record.severity_number
                rows.append(
                    (
                        time_ns,
                        id_text(trace_id),
                        id_text(span_id),
                        record.flags & _TRACE_FLAGS,
                        record.severity_text,
                        # Enums are open in protobuf; 0 is an unspecified severity.
                        severity if 0 <= severity <= 255 else 0,
                        service,
                        text(record.body),
                        resource_schema,
                        resource,
                        scope_schema,
                        scope_name,
                        scope_version,
                        scope_attributes,
                        texts(record.attributes),
                        record.event_name,
                    )
                )
    return Rejected("log records", rejected)


def _time_ns(record: LogRecord) -> int:
    return record.time_unix_nano or record.observed_time_unix_nano


def _reason(record: LogRecord, limits: TimeLimits) -> str:
    if len(record.trace_id) not in (0, 16):
        return "the trace id is not 16 bytes"
    if len(record.span_id) not in (0, 8):
        return "the span id is not 8 bytes"
    time_ns = _time_ns(record)
    return f"the time is {limits.problem(time_ns)}" if time_ns else "there is no time"
