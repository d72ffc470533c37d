"""Pass 2 with a language model: several traces a request, each verdict tied to its trace and its evidence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tracetaxa.analyze.model import evidence, replies
from tracetaxa.analyze.model.budget import NO_BUDGET, BudgetReached
from tracetaxa.analyze.model.control import Control
from tracetaxa.analyze.model.examples import Example, turns
from tracetaxa.analyze.model.prompting import chat, prompt, wording
from tracetaxa.analyze.untrusted import fence
from tracetaxa.analyze.untrusted.fence import neutralise
from tracetaxa.errors import ModelReplyInvalid, ModelUnavailable
from tracetaxa.records import OTHER, Assignment, Brief, Taxonomy, TraceRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.model.prompting import Ask

log = logging.getLogger(__name__)

PROMPTS = ("untrusted", "assign", "quote")

NO_CONTENT = "the {unit} has no content to quote"
NO_CATEGORIES = "the taxonomy has no categories"
NO_EVIDENCE = "no verifiable evidence"
NO_VERDICT = "the model gave no verdict"
NO_MODEL = "the model did not answer"
MIXED_UP = "the model mixed up what it was shown"

_REASON_CHARS = 200


def abstain(trace: TraceRow, reason: str) -> Assignment:
    return Assignment(trace.trace_id, OTHER, reason=reason, abstained=True)


class Labeller:
    """Labels packs of traces with one taxonomy; every trace of a pack gets exactly one assignment.

    What goes wrong stays with the traces it went wrong for: those that a reply leaves out or makes unusable
    are asked again in packs of half the size, down to one trace; then that trace is an abstention. A reply in
    which one trace shows to have acted on another counts for nothing: its traces are asked again one by one.
    """

    def __init__(
        self,
        ask: Ask,
        taxonomy: Taxonomy,
        brief: Brief,
        *,
        examples: Sequence[Example] = (),
        max_attempts: int = 4,
        give_up_after: int = 5,
    ) -> None:
        """Labels stand in the prompt in the order of the taxonomy. `max_attempts` bounds the packs that one
        trace can be in. After `give_up_after` packs in a row without any answer, the model is not asked any
        more."""
        self._ask = ask
        self._taxonomy = taxonomy
        self._brief = brief
        self._max_attempts = max_attempts
        self._give_up_after = give_up_after
        self._silent = 0
        self._outage = ""
        self._labels = [c.category_id for c in taxonomy.categories]
        self._schema = replies.labelled(self._labels, brief.attributes)
        self._turns = turns(examples, brief, self._labels)
        said = wording(brief)
        untrusted = prompt("untrusted").template.strip()
        self._instructions = prompt("assign").fill(
            question=brief.instructions,
            untrusted=untrusted,
            labels=_outline(taxonomy),
            attributes=_attributes(brief),
            unit=said["unit"],
            recordings=said["recordings"],
        )
        self._quote_instructions = prompt("quote").fill(
            untrusted=untrusted, labels=_outline(taxonomy), recordings=said["recordings"]
        )

    async def label(self, traces: Sequence[TraceRow]) -> list[Assignment]:
        """One assignment a trace, in any order. Raises ModelRefused."""
        told = [t for t in traces if evidence.quotable(zip(t.digest_kinds, t.digest_texts, strict=True))]
        readable = {t.trace_id for t in told}
        empty = NO_CONTENT.format(unit=self._brief.unit)
        bare = [abstain(t, empty) for t in traces if t.trace_id not in readable]
        if all(c.category_id == OTHER for c in self._taxonomy.categories):
            return bare + [abstain(t, NO_CATEGORIES) for t in told]
        return bare + await self._label(told, attempt=1)

    async def _label(self, traces: Sequence[TraceRow], attempt: int) -> list[Assignment]:
        if not traces:
            return []
        if self._silent >= self._give_up_after:
            return [abstain(t, self._outage) for t in traces]
        keyed, control, data = self._data(traces)
        try:
            reply = await self._ask(chat(self._instructions, data, self._turns), self._schema)
        except BudgetReached:
            return [abstain(t, NO_BUDGET) for t in traces]
        except ModelUnavailable as error:
            self._silent += 1
            # One wording for the whole outage, so that its traces can be counted.
            self._outage = self._outage or f"{NO_MODEL}: {error}"[:_REASON_CHARS]
            return await self._again(traces, (len(traces) + 1) // 2, attempt, self._outage)
        except ModelReplyInvalid as error:
            # What is wrong with a reply may hold words of it, and those have no place in a report.
            log.debug("no usable verdicts for %d traces: %s", len(traces), error)
            if len(traces) == 1:  # the model has had all its attempts for this trace alone
                return [abstain(t, NO_VERDICT) for t in traces]
            return await self._again(traces, (len(traces) + 1) // 2, attempt, NO_VERDICT)
        self._silent, self._outage = 0, ""
        said = replies.verdicts(reply, [*keyed, *([control.key] if control else [])])
        if len(traces) > 1 and self._mixed_up(keyed, control, said):
            return await self._again(traces, 1, attempt, MIXED_UP)
        missing = [trace for key, trace in keyed.items() if key not in said.by_key]
        return await self._verify(keyed, said.by_key) + await self._again(
            missing, (len(traces) + 1) // 2, attempt, NO_VERDICT
        )

    async def _again(
        self, traces: Sequence[TraceRow], size: int, attempt: int, reason: str
    ) -> list[Assignment]:
        """Ask about `traces`, left over from a pack, in packs of `size`; at the end one by one, so that no
        trace pays for its neighbour."""
        if attempt >= self._max_attempts:
            return [abstain(t, reason) for t in traces]
        size = 1 if attempt + 1 >= self._max_attempts else size
        result = []
        for start in range(0, len(traces), size):
            result += await self._label(traces[start : start + size], attempt + 1)
        return result

    def _mixed_up(
        self, keyed: Mapping[str, TraceRow], control: Control | None, said: replies.Verdicts
    ) -> bool:
        """Whether a trace shows in the answer for another one: two answers for one trace, a wrong one for our
        own piece, or words quoted for a trace that only another one holds."""
        if said.disputed or (control and not control.holds(said.by_key.get(control.key))):
            return True
        for key, trace in keyed.items():
            verdict = said.by_key.get(key)
            if verdict is None or evidence.find(verdict.quote, trace.digest) is not None:
                continue
            if any(evidence.find(verdict.quote, t.digest) for other, t in keyed.items() if other != key):
                return True
        return False

    async def _verify(
        self, keyed: Mapping[str, TraceRow], verdicts: Mapping[str, replies.Verdict]
    ) -> list[Assignment]:
        """Assignments whose quotes were found; one more request for the others' quotes, then abstentions."""
        given = {key: verdicts[key] for key in keyed if key in verdicts}
        found = {key: evidence.find(v.quote, keyed[key].digest) for key, v in given.items()}
        lost = [key for key, v in given.items() if found[key] is None and v.label != OTHER]
        if lost:
            quotes = await self._quotes({key: keyed[key] for key in lost}, given)
            found |= {key: evidence.find(quotes.get(key, ""), keyed[key].digest) for key in lost}
        return [self._assignment(keyed[key], v, found[key]) for key, v in given.items()]

    async def _quotes(
        self, keyed: Mapping[str, TraceRow], verdicts: Mapping[str, replies.Verdict]
    ) -> Mapping[str, str]:
        """Quotes by key. They can only be found in their own trace, so a pack can do no harm."""
        given = "\n".join(f"{key}: {verdicts[key].label}" for key in keyed)
        pieces = "\n".join(fence.block(key, _lines(trace)) for key, trace in keyed.items())
        data = f"Labels given:\n{given}\n\n{pieces}"
        try:
            reply = await self._ask(chat(self._quote_instructions, data), replies.QUOTED)
        except (ModelUnavailable, ModelReplyInvalid):
            return {}
        return replies.quotes(reply)

    def _assignment(
        self, trace: TraceRow, verdict: replies.Verdict, proof: evidence.Evidence | None
    ) -> Assignment:
        if proof is None and verdict.label != OTHER:
            return abstain(trace, NO_EVIDENCE)
        category = self._taxonomy.get(verdict.label)
        parent = category.parent_id if category else ""
        return Assignment(
            trace_id=trace.trace_id,
            category_id=parent or verdict.label,
            subcategory_id=verdict.label if parent else "",
            confidence=verdict.confidence,
            reason=verdict.reason,
            evidence=proof.text if proof else "",
            evidence_span_id=proof.span_id if proof else "",
            attributes=verdict.attributes,
        )

    def _data(self, traces: Sequence[TraceRow]) -> tuple[Mapping[str, TraceRow], Control | None, str]:
        """Traces by their keys, the control among them (a trace alone needs none), and the message."""
        told = [_lines(trace) for trace in traces]
        names = fence.keys(self._brief.seed, (line for lines in told for line in lines), len(traces) + 1)
        pieces = [fence.block(key, lines) for key, lines in zip(names, told, strict=False)]
        control = Control.drawn(names[-1], self._labels) if len(traces) > 1 else None
        if control:
            # Anywhere: a model must not learn that it is the last.
            pieces.insert(sum(control.key.encode()) % len(traces), fence.block(control.key, control.lines))
        return dict(zip(names, traces, strict=False)), control, "\n".join(pieces)


def _lines(trace: TraceRow) -> list[str]:
    lines = zip(trace.digest_kinds, trace.digest_texts, strict=True)
    return [f"{kind}: {neutralise(text)}" for kind, text in lines]


def _outline(taxonomy: Taxonomy) -> str:
    lines = []
    for category in taxonomy.top:
        for indent, c in [
            ("", category),
            *(("  ", child) for child in taxonomy.children(category.category_id)),
        ]:
            lines.append(f'{indent}- {c.category_id} "{c.name}": {c.description}')
    return "\n".join(lines)


def _attributes(brief: Brief) -> str:
    if not brief.attributes:
        return ""
    unit = wording(brief)["unit"]
    lines = [f"Values to extract into `attributes` of each entry, null where the {unit} does not say:", ""]
    for a in brief.attributes:
        kind = f"one of {', '.join(a.values)}" if a.type == "enum" else a.type
        lines.append(f"- {a.name} ({kind}): {a.description}")
    return "\n".join(lines)
