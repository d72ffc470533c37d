"""OTLP spans for `otel_traces`: its columns, and what ClickHouse makes them of.

ClickHouse reads protobuf itself and spells attributes as the collector's ClickHouse exporter does, at a
fraction of what it costs in Python. It is given each span as it came, with what it comes from
(sql/spans.proto, sql/insert_spans.sql). Here is what ClickHouse can't do: say which spans are bad, and put
what is unusual in usual words.
"""

from __future__ import annotations

import itertools
from collections import Counter
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracetaxa_exporter.clickhouse.rows import NO_SPAN_ID, NO_TRACE_ID, Rejected, id_text
from tracetaxa_exporter.clickhouse.values import text, texts
from tracetaxa_exporter.clickhouse.wire import RawRequest, TraceRequest
from tracetaxa_exporter.raw import RawSpan, envelopes
from tracetaxa_exporter.wire import field, varint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tracetaxa_exporter.clickhouse.rows import TimeLimits

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
"""Name and ClickHouse type of each column of the exporter, in the order of the table."""

OWN_SPAN_COLUMNS: Final[Mapping[str, str]] = MappingProxyType({"ParentIsRemote": "Bool"})
"""Columns that only tables of ours have.

ParentIsRemote: the parent ran in another process. False also when the sender does not know.
"""


_PIECES: Final = 5
_SPAN: Final = b"\x0a"
"""The tag of Row.span."""
_LATEST_NS: Final = 2**63 - 1
"""The last moment that DateTime64(9) can hold."""
_MAX_KNOWN_BYTES: Final = 4096
"""Origins that are larger are not remembered."""


class SpanRows:
    """The good spans of a request, as Row messages for ClickHouse."""

    def __init__(self, request: bytes, limits: TimeLimits, *, keep_raw: bool = False) -> None:
        """Those of a serialized ExportTraceServiceRequest.

        A span is rejected when its ids don't have 16 and 8 bytes or are all zero, or when its start is
        outside `limits`. A wild end is no reason: it is moved to the latest time. Raises DecodeError, also
        for strings that are not UTF-8.
        """
        self.parts: list[bytes] = []
        """A stream of Rows, each after its length, in pieces: _PIECES for each span."""
        self.raw: list[RawSpan] = []
        """With `keep_raw`, the good spans as they came."""
        reasons: Counter[str] = Counter()
        checked, raw = TraceRequest.FromString(request), RawRequest.FromString(request)
        sources = envelopes(request) if keep_raw else itertools.repeat(None)
        for checked_resource, raw_resource in zip(checked.resource_spans, raw.resource_spans, strict=True):
            for checked_scope, raw_scope in zip(
                checked_resource.scope_spans, raw_resource.scope_spans, strict=True
            ):
                origin = _origin(raw_resource.resource, raw_scope.scope)
                self._add(checked_scope.spans, raw_scope.spans, origin, limits, reasons, next(sources))
        self.rejected = Rejected("spans", reasons)
        """Which spans were left out, and why."""
        self.count = len(self) + self.rejected.count
        """How many spans the request has, good or bad."""

    def __len__(self) -> int:
        return len(self.parts) // _PIECES

    def rewrite(self) -> None:
        """Put spans in words that ClickHouse takes, which are fewer than those of protobuf.

        What comes twice is merged or, as an attribute, only there the last time; lists that are not of
        strings are the strings of their JSON. Raises DecodeError, for values that are nested too deep.
        """
        parts: list[bytes] = []
        for at in range(0, len(self.parts), _PIECES):
            *_, message, others = self.parts[at : at + _PIECES]
            parts += _pieces(_usual(message), others)
        self.parts = parts

    def _add(
        self,
        spans: Sequence[Any],
        messages: Sequence[bytes],
        origin: bytes,
        limits: TimeLimits,
        reasons: Counter[str],
        source: tuple[bytes, bytes] | None,
    ) -> None:
        oldest_ns, latest_ns = limits.oldest_ns, limits.latest_ns
        for span, message in zip(spans, messages, strict=True):
            trace_id, span_id = span.trace_id, span.span_id
            if (
                len(trace_id) != 16
                or trace_id == NO_TRACE_ID
                or len(span_id) != 8
                or span_id == NO_SPAN_ID
                or len(span.parent_span_id) not in (0, 8)
                or not oldest_ns <= span.start_time_unix_nano <= latest_ns
            ):
                reasons[_reason(span, limits)] += 1
                continue
            if source is not None:
                self.raw.append(RawSpan(trace_id, span_id, span.parent_span_id, message, *source))
            others = origin
            if span.events or span.links:
                others = origin + b"".join(_nested(Span.FromString(message)))
            if span.end_time_unix_nano > latest_ns:
                span.end_time_unix_nano = latest_ns
                message = span.SerializeToString()
            self.parts += _pieces(message, others)


def _pieces(message: bytes, others: bytes) -> tuple[bytes, ...]:
    """A Row after its length."""
    length = varint(len(message))
    size = len(_SPAN) + len(length) + len(message) + len(others)
    return varint(size), _SPAN, length, message, others


def _origin(resource: bytes, scope: bytes) -> bytes:
    """Row.origin. The same ones return in request after request, and are remembered."""
    known = len(resource) + len(scope) <= _MAX_KNOWN_BYTES
    return _known_origin(resource, scope) if known else _new_origin(resource, scope)


def _new_origin(resource: bytes, scope: bytes) -> bytes:
    attributes = texts(Resource.FromString(resource).attributes)
    read = InstrumentationScope.FromString(scope)
    strings = (attributes.get("service.name", ""), read.name, read.version)
    named = b"".join(field(number, string.encode()) for number, string in enumerate(strings, 2))
    return field(2, _map(1, attributes) + named)


_known_origin = lru_cache(maxsize=1024)(_new_origin)


def _usual(message: bytes) -> bytes:
    # Read as what it is: values come out in their usual spelling, and of a oneof only the last one.
    span = Span.FromString(message)
    span.DiscardUnknownFields()
    attributes = {attribute.key: attribute for attribute in span.attributes}
    for attribute in attributes.values():
        if attribute.value.WhichOneof("value") in ("array_value", "kvlist_value"):
            attribute.value.string_value = text(attribute.value)
    if len(attributes) < len(span.attributes):
        last = list(attributes.values())
        del span.attributes[:]
        span.attributes.extend(last)
    return span.SerializeToString()


def _nested(span: Span) -> Iterator[bytes]:
    for event in span.events:
        time_ns = min(event.time_unix_nano, _LATEST_NS).to_bytes(8, "little")
        name = event.name.encode()
        yield field(3, b"\x09" + time_ns + field(2, name) + _map(3, texts(event.attributes)))
    for link in span.links:
        ids = (id_text(identity).encode() for identity in (link.trace_id, link.span_id))
        strings = (*ids, link.trace_state.encode())
        fields = b"".join(field(number, value) for number, value in enumerate(strings, 1))
        yield field(4, fields + _map(4, texts(link.attributes)))


def _map(number: int, values: Mapping[str, str]) -> bytes:
    """The field `number`, a map of strings."""
    return b"".join(
        field(number, field(1, key.encode()) + field(2, value.encode())) for key, value in values.items()
    )


def _reason(span: Any, limits: TimeLimits) -> str:
    if len(span.trace_id) != 16 or span.trace_id == NO_TRACE_ID:
        return "the trace id is not 16 bytes or is all zero"
    if len(span.span_id) != 8 or span.span_id == NO_SPAN_ID:
        return "the span id is not 8 bytes or is all zero"
    if len(span.parent_span_id) not in (0, 8):
        return "the parent span id is not 8 bytes"
    return f"the start time is {limits.problem(span.start_time_unix_nano)}"
