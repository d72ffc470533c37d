"""How much a trace would be in memory, known before it is read: what is read together stays within limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.logs import AFTER_SECONDS, BEFORE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tracetaxa.assemble.times import Times
    from tracetaxa.protocols import Database

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Size:
    """Of what is stored: repetitions of a span count."""

    spans: int
    bytes: int
    """Of attributes, events and log events, as text; as Python objects they are a few times that."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What is held in memory of one trace, and of several that are read together."""

    spans: int = 20_000
    bytes: int = 64 * MIB

    def hold(self, size: Size) -> bool:
        return size.spans <= self.spans and size.bytes <= self.bytes


class Sized(Protocol):
    @property
    def size(self) -> Size: ...


T = TypeVar("T", bound=Sized)


async def load_sizes(db: Database, trace_ids: Sequence[str], times: Times | None) -> dict[str, Size]:
    """By trace id; a trace without stored spans is absent."""
    found: dict[str, Size] = {}
    if times is None:
        return found
    for ids in in_parts(trace_ids):
        rows = await db.rows(
            "assembly/sizes_of_traces",
            trace_ids=ids,
            before_seconds=BEFORE_SECONDS,
            after_seconds=AFTER_SECONDS,
            **times.parameters(),
        )
        found |= {row["TraceId"]: Size(row["Spans"], row["Bytes"]) for row in rows}
    return found


def portions(items: Iterable[T], limits: ReadLimits) -> Iterator[list[T]]:
    """The items in order, as many together as the limits hold; what is too large alone is alone."""
    portion: list[T] = []
    spans = size_bytes = 0
    for item in items:
        spans += item.size.spans
        size_bytes += item.size.bytes
        if portion and not limits.hold(Size(spans, size_bytes)):
            yield portion
            portion, spans, size_bytes = [], item.size.spans, item.size.bytes
        portion.append(item)
    if portion:
        yield portion
