"""Spans as the bytes in which they came, and requests that are made of them again.

What a request says beside its spans is in two envelopes: its ResourceSpans messages without their scopes, and
their ScopeSpans without their spans. Both are kept byte for byte, schema URLs and unknown fields included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tracetaxa_exporter.wire import field, fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_RESOURCE_SPANS: Final = 1
"""In ExportTraceServiceRequest."""
_INNER: Final = 2
"""ResourceSpans.scope_spans, and ScopeSpans.spans."""


class RawSpan(NamedTuple):
    """One span of a request, with what it comes from. Ids are their raw bytes."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    span: bytes
    """The Span message."""
    resource: bytes
    """The ResourceSpans message that held it, without scopes."""
    scope: bytes
    """The ScopeSpans message that held it, without spans."""


def envelopes(request: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(resource, scope) of each ScopeSpans of a serialized ExportTraceServiceRequest, in their order.

    Raises ValueError where it is none.
    """
    for _, _, value, end, is_message in _numbered(request, _RESOURCE_SPANS):
        if is_message:
            resource_spans = request[value:end]
            resource, scopes = _opened(resource_spans)
            for scope_spans in scopes:
                yield resource, _opened(scope_spans)[0]


def joined(spans: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """A serialized ExportTraceServiceRequest of (resource, scope, span) triples.

    Spans of one origin are together, in the order in which they are given.
    """
    resources: dict[bytes, dict[bytes, list[bytes]]] = {}
    for resource, scope, span in spans:
        resources.setdefault(resource, {}).setdefault(scope, []).append(field(_INNER, span))
    return b"".join(
        field(
            _RESOURCE_SPANS,
            resource + b"".join(field(_INNER, scope + b"".join(inner)) for scope, inner in scopes.items()),
        )
        for resource, scopes in resources.items()
    )


def _opened(message: bytes) -> tuple[bytes, list[bytes]]:
    """The envelope, and what is in it."""
    kept: list[bytes] = []
    inner: list[bytes] = []
    for number, start, value, end, is_message in fields(message):
        if number == _INNER and is_message:
            inner.append(message[value:end])
        else:
            kept.append(message[start:end])
    return b"".join(kept), inner


def _numbered(message: bytes, number: int) -> Iterator[tuple[int, int, int, int, bool]]:
    return (found for found in fields(message) if found.number == number)
