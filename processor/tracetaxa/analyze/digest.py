"""A trace as a few hundred tokens of text: what decides a category, in the words of the trace.

Kept, in this order of importance: the facts, the user's request, the final answer, errors, failing tool
calls, what the user said later and other tool calls in turn, other answers; of equals, those near either end.
System prompts are left out. Whatever is shortened or missing is marked with an ellipsis.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from tracetaxa.analyze.plain_text import ELLIPSIS, shorten
from tracetaxa.dialects.values import load_json, text_of
from tracetaxa.records import Digest, DigestLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tracetaxa.records import Trace, Turn

CHARACTERS_PER_TOKEN = 4
LEAST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class _Form:
    """How important a line is (1 is most), and its shares of the budget: at least, and while room is left."""

    rank: int
    least: float
    most: float


_REQUEST = _Form(1, 0.20, 0.40)
_ANSWER = _Form(2, 0.12, 0.25)
_ERROR = _Form(3, 0.12, 0.20)
_FAILED_TOOL = _Form(4, 0.08, 0.15)
_USER = _Form(5, 0.06, 0.15)
_TOOL = _Form(5, 0.05, 0.12)
_ASSISTANT = _Form(6, 0.06, 0.10)
_ERRORS_SHOWN = 4
"""How many errors, and how many failing tool calls, are important; others rank with ordinary tool calls."""


@dataclass(slots=True)
class _Entry:
    """What may become a line: a text, or a tool's name, arguments and result."""

    kind: str
    form: _Form
    parts: tuple[str, ...]
    span_id: str
    times: int = 1
    failed: bool = False

    def render(self, limit: int) -> str:
        """The line's text within so many characters."""
        if self.kind != "tool":
            return shorten(self.parts[0], limit)
        name, arguments, result = self.parts
        head = shorten(name or "tool", min(60, limit))
        arrow = " -> " + ("error: " if self.failed and result[:5].lower() != "error" else "")
        times = f" x{self.times}" if self.times > 1 else ""
        brackets = "()" if arguments else ""
        room = limit - len(head + brackets + times) - (len(arrow) if result or self.failed else 0)
        if room < 0:
            return shorten(head + times + (" failed" if self.failed else ""), limit)
        called = shorten(arguments, max(room - len(result), room // 2), ends=False)
        head += f"({called})" if arguments else ""
        told = shorten(result, room - len(called), ends=not result.startswith(("{", "[")))
        return head + times + (arrow + told).rstrip() if told or self.failed else head + times


def digest(trace: Trace, max_tokens: int = 400) -> Digest:
    """The digest of a trace, at most `max_tokens` (and never less than 16) of about four characters.

    The same trace gives the same digest. Each line's text is one line, clean of control characters, and names
    the span that it came from; the facts are of the whole trace and name the first span that says something.
    """
    budget = max(max_tokens, LEAST_TOKENS) * CHARACTERS_PER_TOKEN
    facts = DigestLine("facts", shorten(_facts(trace), budget // 2), trace.root_span_id)
    entries = _entries(trace)
    order = _by_importance(entries)[: budget // 20]
    for i in order:
        entries[i].parts = tuple(shorten(part, budget) for part in entries[i].parts)
    reserve = 0
    while True:
        rooms = _rooms(entries, order, budget, budget - _size([facts]) - reserve)
        lines = [facts, *_lines(entries, rooms)]
        excess = _size(lines) - budget
        if excess <= 0:
            return Digest(trace.trace_id, tuple(lines))
        if not rooms:
            return Digest(trace.trace_id, (facts,))
        reserve += max(excess, 20)


# ---------------------------------------------------------------------------------------------- what there is


def _facts(trace: Trace) -> str:
    failed_tools = sum(turn.error for turn in trace.turns)
    seconds = (trace.end_ns - trace.start_ns) / 1e9
    facts = [
        shorten(trace.root_name or trace.service_name or "trace", 60),
        _count(trace.llm_calls, "model call"),
        _count(trace.tool_calls, "tool call") + (f" ({failed_tools} failed)" if failed_tools else ""),
        _count(trace.span_count, "span"),
        f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min",
        f"status {trace.status}",
    ]
    if trace.error_count:
        facts.append(_count(trace.error_count, "error"))
    facts += [f"feedback {shorten(name, 40)}={score:g}" for name, score in sorted(trace.feedback.items())]
    if not trace.content_captured:
        facts.append("content not captured")
    return ", ".join(facts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _entries(trace: Trace) -> list[_Entry]:
    turns = [turn for turn in trace.turns if turn.role != "system" and (turn.text or turn.role == "tool")]
    # Turns without a time were said before the trace began: context, and not what was asked of it.
    requests = [turn for turn in turns if turn.role == "user"]
    request = next((turn for turn in requests if turn.time_ns), requests[0] if requests else None)
    answer = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
    entries: list[_Entry] = []
    last_of_span: dict[str, int] = {}
    for _, group in groupby(turns, _repeats):
        same = list(group)
        turn = same[-1]
        form = _REQUEST if turn is request else _ANSWER if turn is answer else _form(turn)
        parts = (turn.tool, _arguments(turn.arguments), turn.text) if turn.role == "tool" else (turn.text,)
        last_of_span[turn.span_id] = len(entries)
        entries.append(_Entry(turn.role, form, parts, turn.span_id, len(same), turn.error))
    return _rank_failures(_with_errors(entries, last_of_span, trace))


def _repeats(turn: Turn) -> object:
    """Equal for tool calls that repeat; what people and models say never counts as a repetition."""
    return (turn.tool, turn.arguments, turn.error) if turn.role == "tool" else id(turn)


def _form(turn: Turn) -> _Form:
    if turn.role == "tool":
        return _FAILED_TOOL if turn.error else _TOOL
    return _USER if turn.role == "user" else _ASSISTANT


def _arguments(raw: str) -> str:
    value = load_json(raw) if raw.startswith("{") and len(raw) < 10_000 else None
    if not isinstance(value, dict):
        return raw
    return ", ".join(f"{key}={text_of(part) or 'null'}" for key, part in value.items())


def _with_errors(entries: list[_Entry], last_of_span: Mapping[str, int], trace: Trace) -> list[_Entry]:
    """Errors after the turn of their span, else at the end. Each message once, in a tool call or alone."""
    told = {turn.text for turn in trace.turns if turn.error}
    after: dict[int, list[_Entry]] = {}
    for error in trace.errors:
        if error.message in told:
            continue
        told.add(error.message)
        text = f"{shorten(error.name, 60)}: {error.message or 'no message'}"
        place = last_of_span.get(error.span_id, len(entries) - 1)
        after.setdefault(place, []).append(_Entry("error", _ERROR, (text,), error.span_id, failed=True))
    merged = after.get(-1, [])
    for i, entry in enumerate(entries):
        merged += [entry, *after.get(i, [])]
    return merged


def _rank_failures(entries: list[_Entry]) -> list[_Entry]:
    """Many failures are one fact: the first and the last of them are important, the others are not."""
    for form in (_ERROR, _FAILED_TOOL):
        failures = [entry for entry in entries if entry.form is form]
        for entry in failures[_ERRORS_SHOWN - 1 : -1]:
            entry.form = _TOOL
    return entries


# -------------------------------------------------------------------------------------------------- what fits


def _by_importance(entries: Sequence[_Entry]) -> list[int]:
    """By rank; within it each form in turn, and of each form from both ends of the trace inwards."""
    last = len(entries) - 1
    inwards = sorted(range(len(entries)), key=lambda i: (min(i, last - i), i))
    before = Counter[_Form]()
    keys: dict[int, tuple[int, int]] = {}
    for i in inwards:
        form = entries[i].form
        keys[i] = (form.rank, before[form])
        before[form] += 1
    return sorted(inwards, key=keys.__getitem__)


def _rooms(entries: Sequence[_Entry], order: Sequence[int], budget: int, left: int) -> dict[int, int]:
    """Characters for each line that is kept: the least for all that fit, then more for the important ones."""
    full = {i: _line_size(entries[i].kind, entries[i].render(budget)) for i in order}
    rooms: dict[int, int] = {}
    for i in order:
        least = min(full[i], int(entries[i].form.least * budget))
        if least <= left:
            rooms[i] = least
            left -= least
    for generous in (False, True):
        for i in rooms:
            most = full[i] if generous else min(full[i], int(entries[i].form.most * budget))
            more = max(0, min(most - rooms[i], left))
            rooms[i] += more
            left -= more
    return rooms


def _lines(entries: Sequence[_Entry], rooms: Mapping[int, int]) -> Iterable[DigestLine]:
    """Lines in the order of the trace. Gaps of one turn share a mark, at the first: marks cost room."""
    runs = [(kept, list(run)) for kept, run in groupby(range(len(entries)), lambda i: i in rooms)]
    alone = [entries[run[0]] for kept, run in runs if not kept and len(run) == 1]
    for kept, run in runs:
        if not kept and len(run) > 1:
            yield _cut([entries[i] for i in run])
        elif not kept and alone and entries[run[0]] is alone[0]:
            yield _cut(alone, " here and below" if len(alone) > 1 else "")
        elif kept:
            for i in run:
                entry = entries[i]
                yield DigestLine(
                    entry.kind, entry.render(rooms[i] - _line_size(entry.kind, "")), entry.span_id
                )


def _cut(left_out: Sequence[_Entry], where: str = "") -> DigestLine:
    """What was left out, with the tools that it used most."""
    names = Counter[str]()
    for entry in left_out:
        if entry.kind == "tool":
            names[entry.parts[0]] += entry.times
    tools = ", ".join(f"{shorten(name or 'tool', 24)} x{times}" for name, times in names.most_common(3))
    turns = _count(sum(entry.times for entry in left_out), "turn")
    text = f"{ELLIPSIS} {turns} left out{where}{': ' if tools else ''}{tools} {ELLIPSIS}"
    return DigestLine("cut", text, left_out[0].span_id)


def _line_size(kind: str, text: str) -> int:
    return len(kind) + len(": ") + len(text) + len("\n")


def _size(lines: Iterable[DigestLine]) -> int:
    return sum(_line_size(line.kind, line.text) for line in lines)
