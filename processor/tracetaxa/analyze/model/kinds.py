"""Kinds of traces on their way from minibatches to a taxonomy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.analyze import naming

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of trace that a minibatch showed, or a category made of kinds."""

    name: str
    description: str
    members: tuple[int, ...]
    """Positions in the traces that were read."""
    parts: tuple[Kind, ...] = ()

    @classmethod
    def of(cls, name: str, description: str, parts: Sequence[Kind]) -> Kind:
        return cls(name, description, tuple(m for part in parts for m in part.members), tuple(parts))

    @property
    def leaves(self) -> tuple[Kind, ...]:
        """The kinds of minibatches that it is made of in the end."""
        return tuple(leaf for part in self.parts for leaf in part.leaves) if self.parts else (self,)

    @property
    def typical(self) -> int:
        """A member of its largest leaf."""
        return max(self.leaves, key=lambda leaf: len(leaf.members)).members[0]


def together(kinds: Iterable[Kind]) -> list[Kind]:
    """Usable kinds, those of the same name as one, the largest first."""
    same: dict[str, Kind] = {}
    for kind in kinds:
        name = naming.clean_name(kind.name)
        if not naming.usable(name) or not kind.members:
            continue
        fold = name.casefold()
        first = same.get(fold)
        if first is None:
            same[fold] = Kind(name, naming.usable_description(kind.description), kind.members, kind.parts)
        else:
            parts = (*first.leaves, *kind.leaves) if first.parts or kind.parts else ()
            same[fold] = Kind(first.name, first.description, first.members + kind.members, parts)
    return sorted(same.values(), key=lambda k: -len(k.members))


def settled(one: Sequence[Kind], other: Sequence[Kind]) -> bool:
    """Whether two drafts have the same categories of the same kinds, whatever their order and wording of
    descriptions."""

    def shape(draft: Sequence[Kind]) -> set[tuple[str, frozenset[str]]]:
        return {(kind.name.casefold(), frozenset(part.name for part in kind.parts)) for kind in draft}

    return shape(one) == shape(other)
