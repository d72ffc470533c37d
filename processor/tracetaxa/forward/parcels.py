"""Traces into requests of a bounded size, planned from ids and sizes alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tracetaxa.forward.deliveries import Earlier
    from tracetaxa.forward.due import Due

FIRST_ID: Final = bytes(8)
LAST_ID: Final = b"\xff" * 8
_FRAME_BYTES: Final = 16
"""Of a span in a request."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A span in the spool, without its bytes. Ids are raw bytes."""

    span_id: bytes
    parent_span_id: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """What goes of one trace with a parcel."""

    due: Due
    span_ids: frozenset[bytes]
    entries: frozenset[bytes]
    """Those that get labels where not all spans do."""
    last: bool = True
    """With it the trace is delivered."""


@dataclass(slots=True)
class Parcel:
    """One request. A part of a trace is in a parcel of its own, with spans from `first_id` to `last_id`."""

    parts: list[Part] = field(default_factory=list)
    size_bytes: int = 0
    first_id: bytes = FIRST_ID
    last_id: bytes = LAST_ID


def plan(
    due: Iterable[Due],
    spooled: Mapping[str, Sequence[Spooled]],
    earlier: Mapping[str, Earlier],
    max_bytes: int,
    added: Callable[[Due, bool], int] = lambda due, is_entry: 0,
) -> Iterator[list[Parcel]]:
    """Lists of parcels; those of one list go one after the other, the lists in any order.

    The spans of a trace are without those that the destination has already; a trace of which nothing is left
    is a part without spans. added: bytes that a span of a trace grows by, one that stands for it or another.
    """
    parcel = Parcel()
    for trace in due:
        before = earlier[trace.trace_id].span_ids if trace.trace_id in earlier else frozenset()
        known = spooled.get(trace.trace_id, ())
        spans = [span for span in known if span.span_id not in before]
        entries = entry_spans(spans, late=bool(before))
        grown = {is_entry: added(trace, is_entry) + _FRAME_BYTES for is_entry in (True, False)}
        sizes = [span.size_bytes + grown[span.span_id in entries] for span in spans]
        size = sum(sizes)
        if size > max_bytes:
            yield _pages(trace, sorted(zip(spans, sizes, strict=True), key=_by_id), entries, max_bytes)
            continue
        if parcel.size_bytes + size > max_bytes:
            yield [parcel]
            parcel = Parcel()
        parcel.parts.append(Part(trace, frozenset(span.span_id for span in spans), entries))
        parcel.size_bytes += size
    if parcel.parts:
        yield [parcel]


def entry_spans(spans: Sequence[Spooled], *, late: bool) -> frozenset[bytes]:
    """Those that stand for their trace: its root, without one the spans whose parents are elsewhere; of what
    comes late all of them, since the root is there already.
    """
    if late:
        return frozenset(span.span_id for span in spans)
    roots = frozenset(span.span_id for span in spans if not any(span.parent_span_id))
    if roots:
        return roots
    ids = {span.span_id for span in spans}
    ends = frozenset(span.span_id for span in spans if span.parent_span_id not in ids)
    return ends or frozenset(sorted(ids)[:1])  # parents in a circle


def _pages(
    trace: Due, sized: Sequence[tuple[Spooled, int]], entries: frozenset[bytes], max_bytes: int
) -> list[Parcel]:
    pages: list[list[bytes]] = [[]]
    sizes = [0]
    for span, size in sized:
        if pages[-1] and sizes[-1] + size > max_bytes:
            pages.append([])
            sizes.append(0)
        pages[-1].append(span.span_id)
        sizes[-1] += size
    return [
        Parcel([Part(trace, frozenset(page), entries, last=page is pages[-1])], size, page[0], page[-1])
        for page, size in zip(pages, sizes, strict=True)
    ]


def _by_id(sized: tuple[Spooled, int]) -> bytes:
    return sized[0].span_id
