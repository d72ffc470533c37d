"""Pass 2 with a language model: several traces a request, each verdict tied to its trace and its evidence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tracetaxa.analyze.fence import block, marker, neutralise
from tracetaxa.analyze.model import evidence, replies
from tracetaxa.analyze.model.budget import BudgetReached
from tracetaxa.analyze.model.prompting import prompt
from tracetaxa.errors import ModelReplyInvalid, ModelUnavailable
from tracetaxa.records import OTHER, Assignment, Brief, Taxonomy, TraceRow

PROMPTS = ("untrusted", "assign", "quote")

Ask = Callable[[str, str, replies.Schema], Awaitable[Any]]
"""(fixed instructions, data, schema of the reply) → the reply's JSON."""

NO_CONTENT = "the trace has no content to quote"
NO_CATEGORIES = "the taxonomy has no categories"
NO_EVIDENCE = "no verifiable evidence"
NO_VERDICT = "the model gave no verdict"
NO_MODEL = "the model did not answer"
NO_BUDGET = "budget reached"

_REASON_CHARS = 200


def abstain(trace: TraceRow, reason: str) -> Assignment:
    return Assignment(trace.trace_id, OTHER, reason=reason, abstained=True)


class Labeller:
    """Labels packs of traces with one taxonomy; every trace of a pack gets exactly one assignment.

    What goes wrong stays with the traces it went wrong for: those that a reply leaves out, contradicts itself
    about or makes unusable are asked again in packs of half the size, down to one trace; then that
    trace is an abstention.
    """

    def __init__(
        self, ask: Ask, taxonomy: Taxonomy, brief: Brief, *, max_attempts: int = 4, give_up_after: int = 5
    ) -> None:
        """`max_attempts` bounds the packs that one trace can be in. After `give_up_after` packs in a row
        without any answer, the model is not asked any more."""
        self._ask = ask
        self._taxonomy = taxonomy
        self._brief = brief
        self._max_attempts = max_attempts
        self._give_up_after = give_up_after
        self._silent = 0
        self._outage = ""
        labels = [c.category_id for c in taxonomy.categories]
        self._schema = replies.labelled(labels, brief.attributes)
        untrusted = prompt("untrusted").template.strip()
        self._instructions = prompt("assign").fill(
            question=brief.instructions,
            untrusted=untrusted,
            labels=_outline(taxonomy),
            attributes=_attributes(brief),
        )
        self._quote_instructions = prompt("quote").fill(untrusted=untrusted, labels=_outline(taxonomy))

    async def label(self, traces: Sequence[TraceRow]) -> list[Assignment]:
        """One assignment a trace, in any order. Raises ModelRefused."""
        told = [t for t in traces if evidence.quotable(zip(t.digest_kinds, t.digest_texts, strict=True))]
        readable = {t.trace_id for t in told}
        bare = [abstain(t, NO_CONTENT) for t in traces if t.trace_id not in readable]
        if all(c.category_id == OTHER for c in self._taxonomy.categories):
            return bare + [abstain(t, NO_CATEGORIES) for t in told]
        return bare + await self._label(told, attempt=1)

    async def _label(self, traces: Sequence[TraceRow], attempt: int) -> list[Assignment]:
        if not traces:
            return []
        if self._silent >= self._give_up_after:
            return [abstain(t, self._outage) for t in traces]
        keyed = {f"t{i}": trace for i, trace in enumerate(traces, 1)}
        try:
            reply = await self._ask(self._instructions, self._data(keyed), self._schema)
        except BudgetReached:
            return [abstain(t, NO_BUDGET) for t in traces]
        except ModelUnavailable as error:
            self._silent += 1
            # One wording for the whole outage, so that its traces can be counted.
            self._outage = self._outage or f"{NO_MODEL}: {error}"[:_REASON_CHARS]
            return [abstain(t, self._outage) for t in traces]
        except ModelReplyInvalid as error:
            reason = f"{NO_VERDICT}: {error}"[:_REASON_CHARS]
            if len(traces) == 1:  # the model has had all its attempts for this trace alone
                return [abstain(t, reason) for t in traces]
            return await self._again(traces, len(traces), attempt, reason)
        self._silent, self._outage = 0, ""
        verdicts = replies.verdicts(reply, list(keyed))
        missing = [trace for key, trace in keyed.items() if key not in verdicts]
        return await self._verify(keyed, verdicts) + await self._again(
            missing, len(traces), attempt, NO_VERDICT
        )

    async def _again(
        self, traces: Sequence[TraceRow], pack: int, attempt: int, reason: str
    ) -> list[Assignment]:
        """Ask about `traces`, left over from a pack, in packs of half its size; at the end one by one, so
        that no trace pays for its neighbour."""
        if attempt >= self._max_attempts:
            return [abstain(t, reason) for t in traces]
        size = 1 if attempt + 1 >= self._max_attempts else (pack + 1) // 2
        result = []
        for start in range(0, len(traces), size):
            result += await self._label(traces[start : start + size], attempt + 1)
        return result

    async def _verify(
        self, keyed: Mapping[str, TraceRow], verdicts: Mapping[str, replies.Verdict]
    ) -> list[Assignment]:
        """Assignments whose quotes were found; one more request for the others' quotes, then abstentions."""
        found = {key: evidence.find(v.quote, keyed[key].digest) for key, v in verdicts.items()}
        lost = [key for key, v in verdicts.items() if found[key] is None and v.label != OTHER]
        if lost:
            quotes = await self._quotes({key: keyed[key] for key in lost}, verdicts)
            found |= {key: evidence.find(quotes.get(key, ""), keyed[key].digest) for key in lost}
        return [self._assignment(keyed[key], v, found[key]) for key, v in verdicts.items()]

    async def _quotes(
        self, keyed: Mapping[str, TraceRow], verdicts: Mapping[str, replies.Verdict]
    ) -> Mapping[str, str]:
        given = "\n".join(f"{key}: {verdicts[key].label}" for key in keyed)
        try:
            reply = await self._ask(
                self._quote_instructions, f"Labels given:\n{given}\n\n{self._data(keyed)}", replies.QUOTED
            )
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

    def _data(self, keyed: Mapping[str, TraceRow]) -> str:
        lines = {
            key: [
                f"{kind}: {neutralise(text)}"
                for kind, text in zip(trace.digest_kinds, trace.digest_texts, strict=True)
            ]
            for key, trace in keyed.items()
        }
        number = marker(self._brief.seed, (line for trace in lines.values() for line in trace))
        return "\n".join(block(key, number, trace) for key, trace in lines.items())


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
    lines = ["Values to extract into `attributes` of each entry, null where the trace does not say:", ""]
    for a in brief.attributes:
        kind = f"one of {', '.join(a.values)}" if a.type == "enum" else a.type
        lines.append(f"- {a.name} ({kind}): {a.description}")
    return "\n".join(lines)
