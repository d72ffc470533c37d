"""The trees of one trace or several: spans in any order, sent twice, with parents missing or in circles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.records import Span


@dataclass(frozen=True, slots=True)
class Tree:
    spans: tuple[Span, ...]
    """One per trace and span id, in time order; of spans that start together, those that end later first."""
    parents: tuple[int, ...]
    """Index of each span's parent, -1 where it is not among the spans."""
    downward: tuple[int, ...]
    """All indices, parents before children."""

    @property
    def root(self) -> int:
        """The earliest span that names no parent, else the earliest span."""
        return next((i for i, span in enumerate(self.spans) if not span.parent_span_id), 0)

    @property
    def has_root(self) -> bool:
        return bool(self.spans) and not self.spans[self.root].parent_span_id


def build_tree(spans: Sequence[Span]) -> Tree:
    """O(n log n). Of spans with one id, the one that ended last and says most is kept."""
    distinct: dict[tuple[str, str], Span] = {}
    for span in spans:
        identity = (span.trace_id, span.span_id)
        known = distinct.get(identity)
        if known is None or _extent(span) > _extent(known):
            distinct[identity] = span
    ordered = sorted(distinct.values(), key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
    index = {(span.trace_id, span.span_id): i for i, span in enumerate(ordered)}
    parents = [
        index.get((span.trace_id, span.parent_span_id), -1) if span.parent_span_id else -1 for span in ordered
    ]
    return Tree(tuple(ordered), *_downward(parents))


def _extent(span: Span) -> tuple[int, int]:
    return (span.end_ns, len(span.attributes))


def _downward(parents: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Parents before children. A circle is opened at its member that was met first."""
    parents = list(parents)
    placed = [False] * len(parents)
    order: list[int] = []
    for start in range(len(parents)):
        path: dict[int, None] = {}
        node = start
        while node >= 0 and not placed[node] and node not in path:
            path[node] = None
            node = parents[node]
        climbed = list(path)
        if node in path:
            parents[node] = -1
            at = climbed.index(node)
            climbed = [*climbed[:at], *climbed[at + 1 :], node]
        for member in reversed(climbed):
            placed[member] = True
            order.append(member)
    return tuple(parents), tuple(order)
