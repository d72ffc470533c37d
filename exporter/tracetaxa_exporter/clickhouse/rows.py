"""OTLP spans as rows of `otel_traces`, spelled as the collector's ClickHouse exporter spells them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from tracetaxa_exporter.clickhouse.values import texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
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

Row = tuple[Any, ...]
"""One span: a value for each of COLUMNS. Times are integer nanoseconds."""

DAY_NS: Final = 86_400 * 10**9
YEAR_2000_NS: Final = 946_684_800 * 10**9
"""A span that starts earlier has a broken clock or none."""

_KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
_STATUSES = ("Unset", "Ok", "Error")
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)
_LATEST_NS = 2**63 - 1
"""The last moment that DateTime64(9) can hold."""

_EMPTY: Final[Sequence[Any]] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Spans of one request that can never be stored, counted by reason."""

    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def spans(self) -> int:
        return sum(self.reasons.values())

    @property
    def message(self) -> str:
        """One sentence for the sender; empty when nothing was rejected."""
        if not self.reasons:
            return ""
        details = ", ".join(f"{reason} ({count})" for reason, count in self.reasons.items())
        return f"rejected spans, which must not be sent again: {details}"


def append_rows(
    rows: list[Row],
    request: ExportTraceServiceRequest,
    *,
    now_ns: int,
    max_future_ns: int = DAY_NS,
    max_age_ns: int | None = None,
) -> Rejected:
    """Append a row for each good span of `request`, in order; say which spans were left out and why.

    A span is rejected when its ids don't have 16 and 8 bytes or are all zero, or when it starts before the
    year 2000 or more than `max_future_ns` after `now_ns`: the table has a partition a day, and wild times
    would make it thousands. A wild end is no reason: it is moved between the start and that same limit.
    One that starts more than `max_age_ns` before `now_ns` is rejected too: that is the table's retention,
    which would drop it in silence. None is no such limit.
    """
    limit_ns = now_ns + max_future_ns
    oldest_ns = YEAR_2000_NS if max_age_ns is None else max(YEAR_2000_NS, now_ns - max_age_ns)
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
                    or trace_id == _NO_TRACE
                    or len(span_id) != 8
                    or span_id == _NO_SPAN
                    or len(parent_id) not in (0, 8)
                    or not oldest_ns <= start_ns <= limit_ns
                ):
                    rejected[_reason(span, oldest_ns, max_age_ns)] += 1
                    continue
                duration_ns = min(span.end_time_unix_nano, limit_ns) - start_ns
                status = span.status
                events = span.events
                links = span.links
                rows.append(
                    (
                        start_ns,
                        trace_id.hex(),
                        span_id.hex(),
                        "" if parent_id == _NO_SPAN else parent_id.hex(),
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
                        [_hex(link.trace_id) for link in links] if links else _EMPTY,
                        [_hex(link.span_id) for link in links] if links else _EMPTY,
                        [link.trace_state for link in links] if links else _EMPTY,
                        [texts(link.attributes) for link in links] if links else _EMPTY,
                    )
                )
    return Rejected(rejected)


def _reason(span: Span, oldest_ns: int, max_age_ns: int | None) -> str:
    if len(span.trace_id) != 16 or span.trace_id == _NO_TRACE:
        return "the trace id is not 16 bytes or is all zero"
    if len(span.span_id) != 8 or span.span_id == _NO_SPAN:
        return "the span id is not 8 bytes or is all zero"
    if len(span.parent_span_id) not in (0, 8):
        return "the parent span id is not 8 bytes"
    if span.start_time_unix_nano < YEAR_2000_NS:
        return "the start time is before the year 2000"
    if max_age_ns is not None and span.start_time_unix_nano < oldest_ns:
        return f"the start time is older than the retention of {_period(max_age_ns)}"
    return "the start time is too far in the future"


def _period(ns: int) -> str:
    number, unit = (ns / DAY_NS, "day") if ns >= DAY_NS else (ns / 10**9, "second")
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def _spelled(names: tuple[str, ...], number: int) -> str:
    # Enums are open in protobuf: a number that this version does not know is possible.
    return names[number] if 0 <= number < len(names) else ""


def _hex(identity: bytes) -> str:
    return identity.hex() if any(identity) else ""
