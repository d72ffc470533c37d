"""Grouping kinds by a model: one request, and as many as it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze import naming
from tracetaxa.analyze.model import packing, replies
from tracetaxa.analyze.model.concurrently import tried
from tracetaxa.analyze.model.kinds import Kind, together
from tracetaxa.analyze.model.prompting import chat
from tracetaxa.analyze.untrusted import fence
from tracetaxa.analyze.untrusted.fence import neutralise

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tracetaxa.analyze.model.prompting import Ask
    from tracetaxa.records import Brief, Category, TraceRow

_EXAMPLES = 2
_EXAMPLE_CHARS = 160
_FEWER = 0.8
"""A round of merging in groups that leaves more of the kinds than this no longer helps."""


@dataclass(frozen=True, slots=True)
class Grouping:
    ask: Ask
    brief: Brief
    max_kinds: int = 150
    """Kinds in one request; more are merged in groups first."""
    max_data_tokens: int = 32_000
    """Their text in one request."""

    async def group(
        self,
        instructions: str,
        kinds: Sequence[Kind],
        *,
        given: Sequence[Kind] = (),
        inside: Category | None = None,
        traces: Sequence[TraceRow] = (),
        listed: Sequence[str] | None = None,
    ) -> list[Kind]:
        """Kinds grouped under new names: the given groups first, then groups that have members.

        `listed` is how the kinds are shown, if not one after the other.
        """
        lines = [f"category: {inside.name}. {inside.description}"] if inside else []
        for i, kind in enumerate(kinds, 1):
            lines.append(self._line(i, kind))
            if inside:
                lines += [f"  example: {text}" for text in _examples(kind, traces)]
        lines = list(listed) if listed is not None else lines
        (key,) = fence.keys(self.brief.seed, lines, 1)
        reply = await self.ask(chat(instructions, fence.block(key, lines)), replies.GROUPED)

        by_key = {f"k{i}": kind for i, kind in enumerate(kinds, 1)}
        groups: list[list[Kind]] = [[] for _ in given]
        new: list[tuple[naming.Named, list[Kind]]] = []
        for entry in reply["categories"]:
            parts = [by_key.pop(key.strip()) for key in entry["kinds"] if key.strip() in by_key]
            match = next((i for i, g in enumerate(given) if naming.same_name(g.name, entry["name"])), None)
            if match is not None:
                groups[match] += parts
            elif parts and not excluded(entry["name"], self.brief):
                new.append((naming.Named(entry["name"], entry["description"]), parts))
        kept = [Kind.of(g.name, g.description, groups[i]) for i, g in enumerate(given)]
        taken = [g.name for g in given] + ([inside.name] if inside else [])
        for named, parts in new:
            for fresh in naming.distinct([named], taken):
                taken.append(fresh.name)
                kept.append(Kind.of(fresh.name, fresh.description, parts))
        return kept

    async def reduce(
        self,
        kinds: Sequence[Kind],
        merge: Callable[[Sequence[Kind]], Coroutine[Any, Any, list[Kind]]],
        most: int,
    ) -> list[Kind]:
        """Kinds that fit one request: merged in groups, level by level, as often as it takes.

        Of a group whose merging fails, the `most` largest go on as they are.
        """
        level = list(kinds)
        while len(groups := self._dealt(level)) > 1:
            merged = await tried(merge(group) for group in groups)
            fewer = together(
                kind
                for made, group in zip(merged, groups, strict=True)
                for kind in (group[:most] if made is None else made)
            )
            if not fewer or len(fewer) > _FEWER * len(level):
                return self._dealt(level, cut=True)[0]
            level = fewer
        return level

    def _dealt(self, kinds: Sequence[Kind], *, cut: bool = False) -> list[list[Kind]]:
        """As many groups as requests are needed, each with kinds of every size; with `cut`, the largest kinds
        that fit one request."""
        runs = packing.cut(kinds, self._tokens, self.max_kinds, self.max_data_tokens)
        return runs if cut else [list(kinds[i :: len(runs)]) for i in range(len(runs))]

    def listed(self, draft: Sequence[Kind], kinds: Sequence[Kind]) -> list[str]:
        """The draft with its kinds by key, then the kinds that it leaves out."""
        numbers = {kind.name: number for number, kind in enumerate(kinds, 1)}
        lines = []
        for category in draft:
            lines.append(f"draft: {category.name}: {category.description}")
            lines += [self._line(numbers.pop(kind.name), kind) for kind in category.parts]
        if numbers:
            lines.append("left out:")
            lines += [self._line(number, kinds[number - 1]) for number in numbers.values()]
        return lines

    def _line(self, number: int, kind: Kind) -> str:
        return f"k{number} ({len(kind.members)} {self.brief.unit}s): {kind.name}: {kind.description}"

    def _tokens(self, kind: Kind) -> int:
        return len(self._line(999, kind).encode("utf-8", "replace")) // packing.BYTES_PER_TOKEN


def excluded(name: str, brief: Brief) -> bool:
    return any(naming.same_name(name, text) for text in brief.excluded)


def _examples(kind: Kind, traces: Sequence[TraceRow]) -> list[str]:
    return [neutralise(traces[m].input)[:_EXAMPLE_CHARS] for m in kind.members[:_EXAMPLES] if traces[m].input]
