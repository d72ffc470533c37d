"""OTLP spans as rows of `otel_traces`, spelled as the collector's ClickHouse exporter spells them."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from tracetaxa_exporter.clickhouse.rows import NO_SPAN_ID, NO_TRACE_ID, Rejected, Row, TimeLimits, id_text
from tracetaxa_exporter.clickhouse.values import texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

SPAN_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Timestamp": "DateTime64(9)",
        "TraceId": "String",
        "SpanId": "String",
        "ParentSpanId": "String",
        "TraceState": "String",
        "SpanName": "LowCardinality(String)",
        "SpanKind": "LowCardinality(String)",
        "ServiceName": "LowCardinality(String)",
        "ResourceAttributes": "Map(LowCardinality(String), String)",
        "ScopeName": "String",
        "ScopeVersion": "String",
        "SpanAttributes": "Map(LowCardinality(String), String)",
        "Duration": "UInt64",
        "StatusCode": "LowCardinality(String)",
        "StatusMessage": "String",
        "Events.Timestamp": "Array(DateTime64(9))",
        "Events.Name": "Array(LowCardinality(String))",
        "Events.Attributes": "Array(Map(LowCardinality(String), String))",
        "Links.TraceId": "Array(String)",
        "Links.SpanId": "Array(String)",
        "Links.TraceState": "Array(String)",
        "Links.Attributes": "Array(Map(LowCardinality(String), String))",
    }
)
"""Name and ClickHouse type of each column, in the order of the table and of a row."""

_KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
_STATUSES = ("Unset", "Ok", "Error")
_LATEST_NS = 2**63 - 1
"""The last moment that DateTime64(9) can hold."""

_EMPTY: Final[Sequence[Any]] = ()


def append_span_rows(rows: list[Row], request: ExportTraceServiceRequest, limits: TimeLimits) -> Rejected:
    """Append a row for each good span of `request`, in order; say which spans were left out and why.

    A span is rejected when its ids don't have 16 and 8 bytes or are all zero, or when its start is outside
    `limits`. A wild end is no reason: it is moved between the start and the latest time.
    """
    oldest_ns, latest_ns = limits.oldest_ns, limits.latest_ns
    rejected: Counter[str] = Counter()
    for resource_spans in request.resource_spans:
        resource = texts(resource_spans.resource.attributes)
        service = resource.get("service.name", "")
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            scope_name, scope_version = scope.name, scope.version
            for span in scope_spans.spans:
                trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id
                start_ns = span.start_time_unix_nano
                if (
                    len(trace_id) != 16
                    or trace_id == NO_TRACE_ID
                    or len(span_id) != 8
                    or span_id == NO_SPAN_ID
                    or len(parent_id) not in (0, 8)
                    or not oldest_ns <= start_ns <= latest_ns
                ):
                    rejected[_reason(span, limits)] += 1
                    continue
                duration_ns = min(span.end_time_unix_nano, latest_ns) - start_ns
                status = span.status
                events = span.events
                links = span.links
                rows.append(
                    (
                        start_ns,
                        trace_id.hex(),
                        span_id.hex(),
                        "" if parent_id == NO_SPAN_ID else parent_id.hex(),
                        span.trace_state,
                        span.name,
                        _spelled(_KINDS, span.kind),
                        service,
                        resource,
                        scope_name,
                        scope_version,
                        texts(span.attributes),
                        max(duration_ns, 0),
                        _spelled(_STATUSES, status.code),
                        status.message,
                        [min(event.time_unix_nano, _LATEST_NS) for event in events] if events else _EMPTY,
                        [event.name for event in events] if events else _EMPTY,
                        [texts(event.attributes) for event in events] if events else _EMPTY,
                        [id_text(link.trace_id) for link in links] if links else _EMPTY,
                        [id_text(link.span_id) for link in links] if links else _EMPTY,
                        [link.trace_state for link in links] if links else _EMPTY,
                        [texts(link.attributes) for link in links] if links else _EMPTY,
                    )
                )
    return Rejected("spans", rejected)


def _reason(span: Span, limits: TimeLimits) -> str:
    if len(span.trace_id) != 16 or span.trace_id == NO_TRACE_ID:
        return "the trace id is not 16 bytes or is all zero"
    if len(span.span_id) != 8 or span.span_id == NO_SPAN_ID:
        return "the span id is not 8 bytes or is all zero"
    if len(span.parent_span_id) not in (0, 8):
        return "the parent span id is not 8 bytes"
    return f"the start time is {limits.problem(span.start_time_unix_nano)}"


def _spelled(names: tuple[str, ...], number: int) -> str:
    # Enums are open in protobuf: a number that this version does not know is possible.
    return names[number] if 0 <= number < len(names) else ""
