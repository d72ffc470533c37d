"""Pass 1 with a language model: kinds from minibatches, merged into categories, divided into subcategories.

The steps are those of TnT-LLM (Wan et al., KDD 2024): map over minibatches, then reduce. Kinds carry
their members, so a category's subcategories are made from the kinds that its own members gave.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze import naming
from tracetaxa.analyze.fence import block, marker, neutralise
from tracetaxa.analyze.model import evidence, replies
from tracetaxa.analyze.model.prompting import prompt
from tracetaxa.errors import ModelReplyInvalid, ModelUnavailable
from tracetaxa.records import OTHER, Brief, Category, Taxonomy, TraceRow

if TYPE_CHECKING:
    from tracetaxa.protocols import Progress

PROMPTS = ("untrusted", "category_rules", "propose", "merge", "divide")

Ask = Callable[[str, str, replies.Schema], Awaitable[Any]]
"""(fixed instructions, data, schema of the reply) → the reply's JSON."""

_EXAMPLES = 2
_EXAMPLE_CHARS = 160
_MERGE_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of trace that a minibatch showed, or a category made of kinds."""

    name: str
    description: str
    members: tuple[int, ...]
    """Positions in the traces that were read."""
    parts: tuple[Kind, ...] = ()


@dataclass(frozen=True, slots=True)
class Discovery:
    ask: Ask
    digests_per_batch: int = 40
    kinds_per_batch: int = 15
    max_traces: int = 500
    """Traces read for the taxonomy: a seeded choice of the sample when it holds more. Pass 2 reads all."""
    max_kinds: int = 300
    """Kinds in one merging request; the ones with fewest members are left out beyond."""

    async def run(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        """The taxonomy of `traces`. Raises what `ask` raises when no batch or no merge succeeds."""
        # A kind of traces that show nothing but figures could get no member: nothing in them can be quoted.
        read = [t for t in traces if evidence.quotable(zip(t.digest_kinds, t.digest_texts, strict=True))]
        random.Random(brief.seed).shuffle(read)  # noqa: S311
        read = read[: self.max_traces]
        given = [Kind(c.name, c.description, ()) for c in brief.predefined]
        kinds = await self._propose(read, brief, progress) if read else []
        top = await self._merge(kinds, given, brief) if kinds else []
        progress("merge", 1, 1)
        return await self._divide(top, read, brief, progress)

    # ---------------------------------------------------------------------------------------- steps

    async def _propose(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> list[Kind]:
        """Kinds of every minibatch. A batch that fails is left out, of the progress too; raises if all do."""
        size = self.digests_per_batch
        starts = range(0, len(traces), size)
        done = 0

        async def one(start: int) -> list[Kind] | ModelUnavailable | ModelReplyInvalid:
            nonlocal done
            try:
                kinds = await self._propose_batch(traces[start : start + size], start, brief)
            except (ModelUnavailable, ModelReplyInvalid) as error:
                return error
            done += 1
            progress("discover", done, len(starts))
            return kinds

        outcomes = await _all(one(start) for start in starts)
        failures = [o for o in outcomes if not isinstance(o, list)]
        if len(failures) == len(outcomes):
            raise failures[0]
        return self._most_common(kind for o in outcomes if isinstance(o, list) for kind in o)

    async def _propose_batch(self, traces: Sequence[TraceRow], start: int, brief: Brief) -> list[Kind]:
        lines = [
            [f"{kind}: {neutralise(text)}" for kind, text in zip(t.digest_kinds, t.digest_texts, strict=True)]
            for t in traces
        ]
        number = marker(brief.seed, (line for trace in lines for line in trace))
        data = "\n".join(block(f"t{i}", number, trace) for i, trace in enumerate(lines, 1))
        reply = await self.ask(
            self._instructions("propose", brief, most=self.kinds_per_batch), data, replies.PROPOSED
        )
        position = {f"t{i}": start + i - 1 for i in range(1, len(traces) + 1)}
        taken: set[int] = set()
        kinds = []
        for entry in reply["kinds"]:
            members = tuple(
                dict.fromkeys(
                    p
                    for key in entry["members"]
                    if (p := position.get(key.strip())) is not None and p not in taken
                )
            )
            taken.update(members)
            if members:
                kinds.append(Kind(entry["name"], entry["description"], members))
        return kinds

    async def _merge(self, kinds: Sequence[Kind], given: Sequence[Kind], brief: Brief) -> list[Kind]:
        """At most `brief.max_categories` categories, the given ones first and unchanged."""
        most = max(brief.max_categories, len(given))
        listed = "\n".join(f'- "{g.name}": {g.description}' for g in given) or "None."
        instructions = self._instructions("merge", brief, most=most, given=listed)
        merged = await self._group(instructions, kinds, given, brief)
        for _ in range(_MERGE_ROUNDS - 1):
            if len(merged) <= most:
                break
            fixed, own = merged[: len(given)], merged[len(given) :]
            tighter = await self._group(instructions, own, fixed, brief)
            if not len(given) < len(tighter) < len(merged):
                break  # merging no longer helps
            merged = tighter
        own = sorted(merged[len(given) :], key=lambda k: -len(k.members))
        return [*merged[: len(given)], *own[: most - len(given)]]

    async def _divide(
        self, top: Sequence[Kind], traces: Sequence[TraceRow], brief: Brief, progress: Progress
    ) -> Taxonomy:
        categories = _categories(top, brief)
        ids = [c.category_id for c in categories]
        used = {OTHER, *ids}
        by_name = {c.name: kind for c, kind in zip(categories, top, strict=False)}
        outline = "\n".join(f'- "{c.name}": {c.description}' for c in categories)
        done = 0

        async def one(category: Category) -> list[Kind]:
            nonlocal done
            kind = by_name.get(category.name)
            parts = kind.parts if kind else ()
            subcategories: list[Kind] = []
            if brief.levels > 1 and len(parts) > 1:
                instructions = self._instructions(
                    "divide", brief, most=brief.max_subcategories, categories=outline
                )
                try:
                    subcategories = await self._group(instructions, parts, (), brief, category, traces)
                except (ModelUnavailable, ModelReplyInvalid):
                    subcategories = []  # the top level still answers the question
            done += 1
            progress("subcategories", done, len(categories))
            return subcategories

        divided = await _all(one(category) for category in categories)
        result = []
        for category, subcategories in zip(categories, divided, strict=True):
            result.append(category)
            largest = sorted(subcategories, key=lambda k: -len(k.members))[: brief.max_subcategories]
            if len(largest) < 2:
                continue  # one part says no more than the whole
            for kind, identity in zip(
                largest, naming.identify([k.name for k in largest], used, category.category_id), strict=True
            ):
                result.append(Category(identity, kind.name, kind.description, category.category_id))
        return Taxonomy((*result, naming.OTHER_CATEGORY))

    # ---------------------------------------------------------------------------------------- one request

    async def _group(
        self,
        instructions: str,
        kinds: Sequence[Kind],
        given: Sequence[Kind],
        brief: Brief,
        inside: Category | None = None,
        traces: Sequence[TraceRow] = (),
    ) -> list[Kind]:
        """Kinds grouped under new names: the given groups first, then groups that have members."""
        lines = [f"category: {inside.name}. {inside.description}"] if inside else []
        for i, kind in enumerate(kinds, 1):
            name, description = naming.clean_name(kind.name), naming.clean_description(kind.description)
            lines.append(f"k{i} ({len(kind.members)} traces): {name}: {description}")
            if inside:
                lines += [f"  example: {text}" for text in _examples(kind, traces)]
        data = block("kinds", marker(brief.seed, lines), lines)
        reply = await self.ask(instructions, data, replies.GROUPED)

        by_key = {f"k{i}": kind for i, kind in enumerate(kinds, 1)}
        groups = [[g] if g.members else [] for g in given]
        new: list[tuple[naming.Named, list[Kind]]] = []
        for entry in reply["categories"]:
            parts = [by_key.pop(key.strip()) for key in entry["kinds"] if key.strip() in by_key]
            match = next((i for i, g in enumerate(given) if naming.same_name(g.name, entry["name"])), None)
            if match is not None:
                groups[match] += parts
            elif parts:
                new.append((naming.Named(entry["name"], entry["description"]), parts))
        kept = [_joined(g.name, g.description, groups[i]) for i, g in enumerate(given)]
        taken = [g.name for g in given] + ([inside.name] if inside else [])
        for named, parts in new:
            for fresh in naming.distinct([named], taken):
                taken.append(fresh.name)
                kept.append(_joined(fresh.name, fresh.description, parts))
        return kept

    def _instructions(self, name: str, brief: Brief, **values: object) -> str:
        return prompt(name).fill(
            question=brief.instructions,
            untrusted=prompt("untrusted").template.strip(),
            category_rules=prompt("category_rules").template.strip(),
            **{key: str(value) for key, value in values.items()},
        )

    def _most_common(self, kinds: Any) -> list[Kind]:
        """Kinds of the same name as one, the `max_kinds` with most members."""
        same: dict[str, Kind] = {}
        for kind in kinds:
            name = naming.clean_name(kind.name)
            if not name or naming.is_catch_all(name):
                continue
            first = same.get(name.casefold())
            same[name.casefold()] = (
                replace(first, members=first.members + kind.members) if first else replace(kind, name=name)
            )
        return sorted(same.values(), key=lambda k: -len(k.members))[: self.max_kinds]


def _categories(top: Sequence[Kind], brief: Brief) -> list[Category]:
    given = list(brief.predefined)
    own = top[len(given) :]
    used = {OTHER, *(c.category_id for c in given)}
    ids = naming.identify([k.name for k in own], used)
    return [*given, *(Category(i, k.name, k.description) for i, k in zip(ids, own, strict=True))]


def _joined(name: str, description: str, parts: Sequence[Kind]) -> Kind:
    """A kind made of kinds; parts that were groups themselves are opened, so that `parts` are batch kinds."""
    leaves = tuple(leaf for part in parts for leaf in (part.parts or (part,)))
    return Kind(name, description, tuple(m for part in parts for m in part.members), leaves)


def _examples(kind: Kind, traces: Sequence[TraceRow]) -> list[str]:
    return [neutralise(traces[m].input)[:_EXAMPLE_CHARS] for m in kind.members[:_EXAMPLES] if traces[m].input]


async def _all(work: Any) -> list[Any]:
    """Results in order; when one fails, the others are cancelled before its error is raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
