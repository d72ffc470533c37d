"""Examples in the assignment prompt: traces that are labelled already, as turns of the chat.

One a category, drawn from pass 1: a member that made the category is labelled first, without examples, and
becomes one when both passes agree on it and its quote was found. So examples cost no call of their own, and
hold no label that only one reading supports. They are strangers' words like any other: cut, fenced, and never
from a trace that speaks to its reader.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.model.control import Control
from tracetaxa.analyze.model.evidence import QUOTABLE
from tracetaxa.analyze.untrusted.fence import block, keys, neutralise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tracetaxa.analyze.model.prompting import Message
    from tracetaxa.records import Assignment, AttributeSpec, Brief, Taxonomy, TraceRow

_QUOTED_LINE_CHARS = 200
_REQUEST_CHARS = 140


@dataclass(frozen=True, slots=True)
class Example:
    """A trace, shortened, with the answer that it got."""

    lines: tuple[str, ...]
    answer: Assignment


def candidates(traces: Sequence[TraceRow], taxonomy: Taxonomy, most: int) -> list[TraceRow]:
    """Traces that could become examples: at most one of each category, in the taxonomy's order."""
    rows = {trace.trace_id: trace for trace in traces}
    typical = {category: rows[trace] for category, trace in taxonomy.exemplars if trace in rows}
    return [typical[c.category_id] for c in taxonomy.top if c.category_id in typical][:most]


def chosen(
    rows: Sequence[TraceRow], answers: Iterable[Assignment], taxonomy: Taxonomy
) -> tuple[Example, ...]:
    """Those of `rows`, whose answer is what pass 1 took them for, with a quote in the trace; in order."""
    by_id = {answer.trace_id: answer for answer in answers}
    taken_for = {trace: category for category, trace in taxonomy.exemplars}
    found = []
    for row in rows:
        answer = by_id.get(row.trace_id)
        agrees = answer is not None and answer.category_id == taken_for[row.trace_id]
        if answer is not None and agrees and answer.evidence and not answer.abstained:
            found.append(Example(_shortened(row, answer.evidence), answer))
    return tuple(found)


def turns(examples: Sequence[Example], brief: Brief, labels: Sequence[str]) -> tuple[Message, ...]:
    """One exchange: the examples as the pieces of a message, and the reply that it should get."""
    if not examples:
        return ()
    names = keys(brief.seed, ("examples", *(line for e in examples for line in e.lines)), len(examples) + 1)
    control = Control.drawn(names[-1], labels)
    pieces = [block(key, example.lines) for key, example in zip(names, examples, strict=False)]
    entries = [_entry(key, e.answer, brief.attributes) for key, e in zip(names, examples, strict=False)]
    nothing = {"attributes": dict.fromkeys(a.name for a in brief.attributes)} if brief.attributes else {}
    reply = {"labels": [*entries, control.entry() | nothing]}
    return (
        {"role": "user", "content": "\n".join([*pieces, block(control.key, control.lines)])},
        {"role": "assistant", "content": json.dumps(reply, ensure_ascii=False, separators=(",", ":"))},
    )


def _shortened(row: TraceRow, quote: str) -> tuple[str, ...]:
    """The line that holds the quote, and before it what was asked, if that is another line."""
    lines = [(k, neutralise(t)) for k, t in zip(row.digest_kinds, row.digest_texts, strict=True)]
    quoted = next(i for i, (kind, text) in enumerate(lines) if kind in QUOTABLE and quote in text)
    asked = next((i for i, (kind, _) in enumerate(lines) if kind == "user"), quoted)
    told = [f"{lines[quoted][0]}: {_around(lines[quoted][1], quote)}"]
    if asked < quoted:
        request = lines[asked][1]
        cut = request if len(request) <= _REQUEST_CHARS else f"{request[:_REQUEST_CHARS].rstrip()}…"
        told.insert(0, f"user: {cut}")
    return tuple(told)


def _around(text: str, quote: str) -> str:
    """The quote with some of what stands around it."""
    room = max(0, _QUOTED_LINE_CHARS - len(quote))
    at = text.index(quote)
    start, end = max(0, at - room // 2), at + len(quote) + room // 2
    return ("…" if start else "") + text[start:end].strip() + ("…" if end < len(text) else "")


def _entry(key: str, answer: Assignment, attributes: Sequence[AttributeSpec]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "key": key,
        "evidence": answer.evidence,
        "reason": answer.reason,
        "label": answer.subcategory_id or answer.category_id,
        "confidence": answer.confidence,
    }
    if attributes:
        entry["attributes"] = {a.name: _typed(answer.attributes, a) for a in attributes}
    return entry


def _typed(values: Mapping[str, str], attribute: AttributeSpec) -> bool | float | str | None:
    """The value as the reply's schema has it."""
    value = values.get(attribute.name)
    if value is None or attribute.type in ("string", "enum"):
        return value
    return value == "true" if attribute.type == "boolean" else float(value)
