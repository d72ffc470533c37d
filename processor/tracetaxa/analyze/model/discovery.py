"""Pass 1 with a language model: kinds from minibatches, merged into categories, reviewed until they settle,
divided into subcategories.

The steps are those of TnT-LLM (Wan et al., KDD 2024): map over minibatches, then reduce and review. Kinds
carry their members, so a category's subcategories are made from the kinds that its own members gave. What
does not fit one request is merged in groups first, and the groups' categories after that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze import naming
from tracetaxa.analyze.model import evidence, packing, replies
from tracetaxa.analyze.model.budget import BudgetReached
from tracetaxa.analyze.model.concurrently import every, tried
from tracetaxa.analyze.model.grouping import Grouping, excluded
from tracetaxa.analyze.model.kinds import Kind, settled, together
from tracetaxa.analyze.model.prompting import chat, known, taxonomy_prompt
from tracetaxa.analyze.untrusted import fence
from tracetaxa.analyze.untrusted.fence import neutralise
from tracetaxa.errors import ModelReplyInvalid, ModelUnavailable
from tracetaxa.records import OTHER, Brief, Category, Taxonomy, TraceRow

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from tracetaxa.analyze.model.prompting import Ask
    from tracetaxa.protocols import Progress

log = logging.getLogger(__name__)

PROMPTS = ("untrusted", "category_rules", "propose", "merge", "refine", "divide")

_HALVINGS = 3
"""How often a batch of pass 1 is halved for a model that can't answer for all of it."""


@dataclass(frozen=True, slots=True)
class Discovery:
    ask: Ask
    digests_per_batch: int = 40
    kinds_per_batch: int = 15
    max_traces: int = 500
    """Traces read for the taxonomy: a seeded choice of the sample when it holds more. Pass 2 reads all."""
    max_kinds: int = 150
    """Kinds in one merging request; more are merged in groups first."""
    max_data_tokens: int = 32_000
    """Trace text, or kinds, in one request."""
    reviews: int = 2
    """Most times that the draft of the top level is reviewed; it ends when a review changes nothing."""

    async def run(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        """The taxonomy of `traces`. Raises what `ask` raises when no batch or no merge succeeds."""
        if brief.levels == 1 and brief.predefined and brief.max_categories <= len(brief.predefined):
            return Taxonomy((*brief.predefined, naming.OTHER_CATEGORY))  # there is nothing to find
        read = await asyncio.to_thread(self._read, traces, brief)  # others share this loop
        given = [Kind(c.name, c.description, ()) for c in brief.predefined]
        try:
            kinds = await self._propose(read, brief, progress) if read else []
            top = await self._merge(kinds, given, brief, progress) if kinds else []
        except BudgetReached:
            raise
        except (ModelUnavailable, ModelReplyInvalid) as error:
            if not given:
                raise
            log.warning("only the predefined categories are used: %s", error)
            top = []
        return await self._divide(top, read, brief, progress)

    def _read(self, traces: Sequence[TraceRow], brief: Brief) -> list[TraceRow]:
        """The traces that the taxonomy is made from.

        Those that show nothing but figures could be no member: nothing in them can be quoted. Those that
        speak to their reader don't get a say, unless most traces are so: then it is what this agent does.
        """
        told = [t for t in traces if evidence.quotable(zip(t.digest_kinds, t.digest_texts, strict=True))]
        trusted, suspicious = packing.apart(told)
        read = told if len(suspicious) > len(trusted) else trusted
        random.Random(brief.seed).shuffle(read)  # noqa: S311
        return read[: self.max_traces]

    # ---------------------------------------------------------------------------------------- steps

    async def _propose(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> list[Kind]:
        """Kinds of every minibatch. A batch that fails is left out, of the progress too; raises if all do."""
        batches = packing.cut(traces, packing.tokens_of, self.digests_per_batch, self.max_data_tokens)
        starts = [sum(map(len, batches[:i])) for i in range(len(batches))]
        done = 0

        async def one(batch: Sequence[TraceRow], start: int) -> list[Kind]:
            nonlocal done
            kinds = await self._propose_halves(batch, start, brief)
            done += 1
            progress("discover", done, len(batches))
            return kinds

        outcomes = await tried(one(batch, start) for batch, start in zip(batches, starts, strict=True))
        return together(kind for kinds in outcomes for kind in kinds or ())

    async def _propose_halves(
        self, traces: Sequence[TraceRow], start: int, brief: Brief, depth: int = _HALVINGS
    ) -> list[Kind]:
        """Kinds of a batch; of its halves when a model can't answer for all of it."""
        try:
            return await self._propose_batch(traces, start, brief)
        except ModelReplyInvalid:
            if not depth or len(traces) < 2:
                raise
        middle = len(traces) // 2
        halves = ((traces[:middle], start), (traces[middle:], start + middle))
        found = await tried(self._propose_halves(half, at, brief, depth - 1) for half, at in halves)
        return [kind for kinds in found for kind in kinds or ()]

    async def _propose_batch(self, traces: Sequence[TraceRow], start: int, brief: Brief) -> list[Kind]:
        lines = [
            [f"{kind}: {neutralise(text)}" for kind, text in zip(t.digest_kinds, t.digest_texts, strict=True)]
            for t in traces
        ]
        keys = fence.keys(brief.seed, (line for trace in lines for line in trace), len(traces))
        data = "\n".join(fence.block(key, trace) for key, trace in zip(keys, lines, strict=True))
        earlier = known((c for c in brief.previous if c.category_id != OTHER), described=False)
        instructions = taxonomy_prompt("propose", brief, most=self.kinds_per_batch, known=earlier)
        reply = await self.ask(chat(instructions, data), replies.PROPOSED)
        position = {key: start + i for i, key in enumerate(keys)}
        taken: set[int] = set()
        kinds = []
        for entry in reply["kinds"]:
            named = [p for key in entry["members"] if (p := position.get(key.strip())) is not None]
            members = tuple(dict.fromkeys(p for p in named if p not in taken))
            taken.update(members)
            if members and not excluded(entry["name"], brief):
                kinds.append(Kind(entry["name"], entry["description"], members))
        return kinds

    async def _merge(
        self, kinds: Sequence[Kind], given: Sequence[Kind], brief: Brief, progress: Progress
    ) -> list[Kind]:
        """At most `brief.max_categories` categories, the given ones first and unchanged."""
        most = max(brief.max_categories, len(given))
        values = {
            "most": most,
            "given": "\n".join(f'- "{g.name}": {g.description}' for g in given) or "None.",
            "known": known(c for c in brief.previous if not c.parent_id and c.category_id != OTHER),
        }
        grouping = Grouping(self.ask, brief, self.max_kinds, self.max_data_tokens)
        coarse = taxonomy_prompt("merge", brief, most=2 * most, given="None.", known="")
        kinds = await grouping.reduce(kinds, lambda group: grouping.group(coarse, group), 2 * most)
        draft = await grouping.group(taxonomy_prompt("merge", brief, **values), kinds, given=given)
        review = taxonomy_prompt("refine", brief, **values)
        progress("merge", 1, 1)
        for number in range(1, self.reviews + 1):
            shown = grouping.listed(draft, kinds)
            try:
                revised = await grouping.group(review, kinds, given=given, listed=shown)
            except (ModelUnavailable, ModelReplyInvalid):
                break  # the draft already answers the question
            progress("review", number, self.reviews)
            done = settled(revised, draft)
            if any(kind.members for kind in revised):
                draft = revised
            if done:
                break
        own = sorted(draft[len(given) :], key=lambda k: -len(k.members))
        return [*draft[: len(given)], *own[: most - len(given)]]

    async def _divide(
        self, top: Sequence[Kind], traces: Sequence[TraceRow], brief: Brief, progress: Progress
    ) -> Taxonomy:
        categories = _categories(top, brief)
        used = {OTHER, *(c.category_id for c in categories)}
        by_id = {c.category_id: kind for c, kind in zip(categories, top, strict=False)}
        grouping = Grouping(self.ask, brief, self.max_kinds, self.max_data_tokens)
        outline = "\n".join(f'- "{c.name}": {c.description}' for c in categories)
        done = 0

        async def one(category: Category) -> list[Kind]:
            nonlocal done
            kind = by_id.get(category.category_id)
            parts = kind.leaves if kind else ()
            subcategories: list[Kind] = []
            if brief.levels > 1 and len(parts) > 1:
                most = brief.max_subcategories
                values = {
                    "categories": outline,
                    "known": known(c for c in brief.previous if c.parent_id == category.category_id),
                }
                coarse = taxonomy_prompt("divide", brief, most=2 * most, **values)
                fine = taxonomy_prompt("divide", brief, most=most, **values)

                def merge(group: Sequence[Kind], prompt: str = coarse) -> Coroutine[Any, Any, list[Kind]]:
                    return grouping.group(prompt, group, inside=category, traces=traces)

                try:
                    subcategories = await merge(await grouping.reduce(parts, merge, 2 * most), fine)
                except (ModelUnavailable, ModelReplyInvalid):
                    subcategories = []  # the top level still answers the question
            done += 1
            progress("subcategories", done, len(categories))
            return subcategories

        divided = await every(one(category) for category in categories)
        result = []
        for category, subcategories in zip(categories, divided, strict=True):
            result.append(category)
            largest = sorted(subcategories, key=lambda k: -len(k.members))[: brief.max_subcategories]
            if len(largest) < 2:
                continue  # one part says no more than the whole
            names = [k.name for k in largest]
            ids = naming.identify(names, used, category.category_id, brief.previous)
            for kind, identity in zip(largest, ids, strict=True):
                result.append(Category(identity, kind.name, kind.description, category.category_id))
        exemplars = tuple(
            (category_id, traces[kind.typical].trace_id)
            for category_id, kind in by_id.items()
            if kind.members
        )
        return Taxonomy((*result, naming.OTHER_CATEGORY), exemplars)


def _categories(top: Sequence[Kind], brief: Brief) -> list[Category]:
    given = list(brief.predefined)
    own = top[len(given) :]
    used = {OTHER, *(c.category_id for c in given)}
    ids = naming.identify([k.name for k in own], used, known=brief.previous)
    return [*given, *(Category(i, k.name, k.description) for i, k in zip(ids, own, strict=True))]
