"""OTLP spans as columns of `otel_traces`, spelled as the collector's ClickHouse exporter spells them.

Columns are built straight from the wire (see wire.py): rows of Python objects would cost twice as much as the
database's own part of an insert.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags

from tracetaxa_exporter.clickhouse.attributes import Attributes
from tracetaxa_exporter.clickhouse.native import (
    LOW_CARDINALITY_VERSION,
    block,
    integers,
    low_cardinality,
    maps,
    offsets,
    string,
)
from tracetaxa_exporter.clickhouse.rows import NO_SPAN_ID, NO_TRACE_ID, Rejected, id_text
from tracetaxa_exporter.clickhouse.wire import TraceRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

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

# Enums are open in protobuf: a number that this version does not know is possible, and has no name.
_KINDS = {
    number: string(name)
    for number, name in enumerate(
        (b"Unspecified", b"Internal", b"Server", b"Client", b"Producer", b"Consumer")
    )
}
_STATUSES = {number: string(name) for number, name in enumerate((b"Unset", b"Ok", b"Error"))}
_NOTHING = string(b"")
_SERVICE_NAME = string(b"service.name")
_LATEST_NS = 2**63 - 1
"""The last moment that DateTime64(9) can hold."""
_REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


class _Maps:
    """A column of attribute maps."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._lengths: list[int] = []
        self._keys: list[bytes] = []
        self._values: list[bytes] = []

    def append(self, attributes: Sequence[bytes]) -> None:
        pairs = self._attributes.map_of(attributes)
        self._lengths.append(len(pairs))
        self._keys.extend(pairs)
        self._values.extend(pairs.values())

    def repeat(self, pairs: Mapping[bytes, bytes], times: int) -> None:
        self._lengths += [len(pairs)] * times
        self._keys += [*pairs] * times
        self._values += [*pairs.values()] * times

    def native(self) -> bytes:
        return maps(self._lengths, self._keys, self._values)


class SpanColumns:
    """The good spans of several requests, gathered for one insert.

    A span is rejected when its ids don't have 16 and 8 bytes or are all zero, or when its start is outside
    `limits`. A wild end is no reason: it is moved between the start and the latest time.
    """

    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits
        attributes = self._read = Attributes()
        self._spans: list[tuple[Any, ...]] = []
        """What is alike in all spans; `native` names the fields."""
        self._places: list[tuple[int, bytes, bytes, bytes]] = []
        """Runs of spans with one service and scope: how many, service, scope's name and version."""
        self._resource_attributes = _Maps(attributes)
        self._span_attributes = _Maps(attributes)
        self._event_attributes = _Maps(attributes)
        self._link_attributes = _Maps(attributes)
        self._events: list[tuple[int, bytes]] = []
        self._links: list[tuple[bytes, bytes, bytes]] = []

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, request: bytes) -> Rejected:
        """Take the good spans of a serialized ExportTraceServiceRequest; say which were left out and why.

        Strings are taken as they are: whether they are UTF-8 is for the caller to have checked. Raises
        DecodeError.
        """
        rejected: Counter[str] = Counter()
        for resource_spans in TraceRequest.FromString(request).resource_spans:
            resource = self._read.map_of(resource_spans.resource.attributes)
            service = resource.get(_SERVICE_NAME, _NOTHING)
            for scope_spans in resource_spans.scope_spans:
                before = len(self._spans)
                for span in scope_spans.spans:
                    self._add_span(span, rejected)
                good = len(self._spans) - before
                scope = scope_spans.scope
                self._places.append((good, service, string(scope.name), string(scope.version)))
                self._resource_attributes.repeat(resource, good)
        return Rejected("spans", rejected)

    def _add_span(self, span: Any, rejected: Counter[str]) -> None:
        limits = self._limits
        trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id
        start_ns = span.start_time_unix_nano
        if (
            len(trace_id) != 16
            or trace_id == NO_TRACE_ID
            or len(span_id) != 8
            or span_id == NO_SPAN_ID
            or len(parent_id) not in (0, 8)
            or not limits.oldest_ns <= start_ns <= limits.latest_ns
        ):
            rejected[_reason(span, limits)] += 1
            return
        status, events, links = span.status, span.events, span.links
        self._spans.append(
            (
                start_ns,
                trace_id,
                span_id,
                parent_id or NO_SPAN_ID,
                string(span.trace_state),
                string(span.name),
                _KINDS.get(span.kind, _NOTHING),
                max(min(span.end_time_unix_nano, limits.latest_ns) - start_ns, 0),
                _STATUSES.get(status.code, _NOTHING),
                string(status.message),
                len(events),
                len(links),
                span.flags & _REMOTE == _REMOTE,
            )
        )
        self._span_attributes.append(span.attributes)
        for event in events:
            self._events.append((min(event.time_unix_nano, _LATEST_NS), string(event.name)))
            self._event_attributes.append(event.attributes)
        for link in links:
            trace, span_of_it = (string(id_text(i).encode()) for i in (link.trace_id, link.span_id))
            self._links.append((trace, span_of_it, string(link.trace_state)))
            self._link_attributes.append(link.attributes)

    def native(self, names: Collection[str]) -> bytes:
        """The columns `names` as one block in ClickHouse's Native format; there must be spans."""
        columns = zip(*self._spans, strict=True)
        starts, trace_ids, span_ids, parents, states, span_names, kinds = islice(columns, 7)
        durations, statuses, messages, event_counts, link_counts, remote = columns
        services, scope_names, scope_versions = (
            [value for count, *values in self._places for value in [values[i]] * count] for i in range(3)
        )
        event_times, event_names = zip(*self._events, strict=True) if self._events else ((), ())
        link_traces, link_spans, link_states = zip(*self._links, strict=True) if self._links else ((), (), ())
        event_ends, link_ends = offsets(event_counts), offsets(link_counts)
        made = {
            "Timestamp": integers("q", starts),
            "TraceId": _hex(trace_ids, 16),
            "SpanId": _hex(span_ids, 8),
            "ParentSpanId": _hex(parents, 8).replace(_hex([NO_SPAN_ID], 8), _NOTHING),
            "TraceState": b"".join(states),
            "SpanName": LOW_CARDINALITY_VERSION + low_cardinality(span_names),
            "SpanKind": LOW_CARDINALITY_VERSION + low_cardinality(kinds),
            "ServiceName": LOW_CARDINALITY_VERSION + low_cardinality(services),
            "ResourceAttributes": LOW_CARDINALITY_VERSION + self._resource_attributes.native(),
            "ScopeName": b"".join(scope_names),
            "ScopeVersion": b"".join(scope_versions),
            "SpanAttributes": LOW_CARDINALITY_VERSION + self._span_attributes.native(),
            "Duration": integers("Q", durations),
            "StatusCode": LOW_CARDINALITY_VERSION + low_cardinality(statuses),
            "StatusMessage": b"".join(messages),
            "Events.Timestamp": event_ends + integers("q", event_times),
            "Events.Name": LOW_CARDINALITY_VERSION + event_ends + low_cardinality(event_names),
            "Events.Attributes": LOW_CARDINALITY_VERSION + event_ends + self._event_attributes.native(),
            "Links.TraceId": link_ends + b"".join(link_traces),
            "Links.SpanId": link_ends + b"".join(link_spans),
            "Links.TraceState": link_ends + b"".join(link_states),
            "Links.Attributes": LOW_CARDINALITY_VERSION + link_ends + self._link_attributes.native(),
            "ParentIsRemote": bytes(remote),
        }
        return block(made, {**SPAN_COLUMNS, **OWN_SPAN_COLUMNS}, names, len(self))


def _hex(ids: Sequence[bytes], size: int) -> bytes:
    """Ids of `size` bytes as Native strings of lower-case hex, whose length is also what separates them."""
    length = chr(2 * size)
    return (length + b"".join(ids).hex(length, size)).encode()


def _reason(span: Any, limits: TimeLimits) -> str:
    if len(span.trace_id) != 16 or span.trace_id == NO_TRACE_ID:
        return "the trace id is not 16 bytes or is all zero"
    if len(span.span_id) != 8 or span.span_id == NO_SPAN_ID:
        return "the span id is not 8 bytes or is all zero"
    if len(span.parent_span_id) not in (0, 8):
        return "the parent span id is not 8 bytes"
    return f"the start time is {limits.problem(span.start_time_unix_nano)}"
