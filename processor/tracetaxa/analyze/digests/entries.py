"""The turns and errors of a trace as what may become a line of its digest, each with its importance."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from tracetaxa.analyze.digests import signals
from tracetaxa.analyze.digests.loops import cycles
from tracetaxa.analyze.plain_text import ELLIPSIS, shorten, shorten_clean
from tracetaxa.dialects.values import load_json, text_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from tracetaxa.records import Trace, Turn


@dataclass(frozen=True, slots=True)
class Form:
    """How important a line is (1 is most), and its shares of the budget: at least, and while room is left."""

    rank: int
    least: float
    most: float


REQUEST = Form(1, 0.23, 0.40)
ANSWER = Form(2, 0.12, 0.22)
ERROR = Form(3, 0.12, 0.20)
FAILED_TOOL = Form(4, 0.08, 0.15)
LOOP = Form(4, 0.10, 0.10)
COMPLAINT = Form(5, 0.10, 0.18)
REFUSAL = Form(5, 0.10, 0.15)
FIRST_USE = Form(6, 0.05, 0.12)
OUTCOME = Form(5, 0.10, 0.16)
"""What was said right after the last call: often a farewell is the very last answer."""
USER = Form(6, 0.07, 0.15)
TOOL = Form(6, 0.05, 0.12)
RETRIEVAL = Form(7, 0.05, 0.10)
ASSISTANT = Form(7, 0.06, 0.10)
GREETING = Form(8, 0.05, 0.10)
"""What an assistant says before it is asked."""

_SHOWN = 4
"""How many errors, failing calls, complaints and refusals each are important; the others are ordinary."""
_CALLS_JOINED = 3
"""So many calls of one tool in a row, or more, are one line."""
_KEY = re.compile(r"\w+=")
_AGAIN_CHARS = 60
"""What is left of a text that was told before."""
_LEAST_REPEATED = 24
"""Shorter texts ("yes", "thank you") are not worth saying that they come again."""


_DATA = ("{", "[{", '["', "[[")
_LEAST_DATA = 24
"""Less of a result that is data says nothing."""
_OUTCOME_CHARS = 40
"""A shorter message is told in full where there is room for it."""
_CALL_SIGNS = len("() x99 -> …")


@dataclass(slots=True)
class Entry:
    """What may become a line: a text, or a tool's name, arguments and result."""

    kind: str
    form: Form
    parts: tuple[str, ...]
    span_id: str
    times: int = 1
    """Turns that it stands for."""
    failed: bool = False
    note: str = ""
    """Said after a text that is not told in full for a reason of its own."""

    def clean(self, limit: int) -> None:
        """Cleans what it holds and cuts it to what a line can have; before `least` and `render`."""
        self.parts = tuple(shorten(part, limit) for part in self.parts)

    def least(self, budget: int) -> int:
        """Characters that it needs to be worth a line: the result of a call, where it is data, is not."""
        least = int(self.form.least * budget)
        if self.kind == "tool" and not self.failed and self.parts[2].startswith(_DATA):
            name, arguments, _ = self.parts
            return min(least, len(name) + len(arguments) + _CALL_SIGNS)
        return least

    def render(self, limit: int) -> str:
        """The line's text within so many characters."""
        if self.kind == "tool":
            return self._call(limit)
        note = self.note + (f" x{self.times}" if self.times > 1 else "")
        return shorten_clean(self.parts[0], limit - len(note)) + note

    def _call(self, limit: int) -> str:
        name, arguments, result = self.parts
        head = shorten_clean(name or "tool", min(60, limit))
        arrow = " -> " + ("error: " if self.failed and result[:5].lower() != "error" else "")
        times = f" x{self.times}" if self.times > 1 else ""
        brackets = "()" if arguments else ""
        room = limit - len(head + brackets + times) - (len(arrow) if result or self.failed else 0)
        if room < 0:
            return shorten_clean(head + times + (" failed" if self.failed else ""), limit)
        data = result.startswith(_DATA) and not self.failed
        # Arguments come before data, and messages before arguments when they are short.
        kept = min(len(result), 1 if data else max(room // 2, min(_OUTCOME_CHARS, room - _OUTCOME_CHARS)))
        called = shorten_clean(arguments, max(room - len(result), room - kept), ends=False)
        head += f"({called})" if arguments else ""
        told = shorten_clean(result, room - len(called), ends=not result.startswith(_DATA))
        if data and len(told) < min(len(result), _LEAST_DATA):
            told = ELLIPSIS if told else ""
        return head + times + (arrow + told).rstrip() if told or self.failed else head + times


def entries_of(trace: Trace) -> list[Entry]:
    """In the order of the trace."""
    turns = [turn for turn in trace.turns if turn.role != "system" and _tells(turn)]
    # Turns without a time were said before the trace began: context, and not what was asked of it.
    requests = [turn for turn in turns if turn.role == "user"]
    request = next((turn for turn in requests if turn.time_ns), requests[0] if requests else None)
    answer = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
    entries: list[Entry] = []
    last_of_span: dict[str, int] = {}
    seen: set[str] = set()
    for step in _steps(turns):
        entry = step.entry()
        if any(turn is request for turn in step.turns):
            entry.form = REQUEST
        elif any(turn is answer for turn in step.turns):
            entry.form = ANSWER
        elif entry.kind == "tool" and entry.form is TOOL and entry.parts[0] not in seen:
            entry.form = FIRST_USE
        seen.add(entry.parts[0])
        last_of_span[entry.span_id] = len(entries)
        entries.append(entry)
        if step.loop:
            entries.append(Entry("cut", LOOP, (step.loop,), entry.span_id, 0))
    _heed_signals(entries)
    _heed_places(entries)
    entries = _with_errors(entries, last_of_span, trace)
    _limit(entries)
    return entries


def _tells(turn: Turn) -> bool:
    return turn.role in ("tool", "retrieval") or not (turn.text.isspace() or turn.text == "")


# ---------------------------------------------------------------------------------------------- repetition


@dataclass(slots=True)
class _Step:
    """Turns that are told as one: equal ones, or calls of one tool."""

    turns: list[Turn]
    loop: str = ""
    """Set at the last step of a loop: what goes round."""
    looped: bool = False

    def entry(self) -> Entry:
        turn = self.turns[-1]
        times = len(self.turns)
        if turn.role not in ("tool", "retrieval"):
            form = USER if turn.role == "user" else ASSISTANT
            return Entry(turn.role, form, (turn.text,), turn.span_id, times)
        name, form = turn.tool, FAILED_TOOL if turn.error else TOOL
        if turn.role == "retrieval":
            name, form = f"retrieval {turn.tool}".rstrip(), FAILED_TOOL if turn.error else RETRIEVAL
        called = list(dict.fromkeys(_arguments(turn.arguments) for turn in self.turns))
        key = _KEY.match(called[0])
        if len(called) > 1 and key and all(c.startswith(key[0]) and ", " not in c for c in called):
            called[1:] = [c.removeprefix(key[0]) for c in called[1:]]
        arguments = " | ".join(called)
        return Entry("tool", form, (name, arguments, turn.text), turn.span_id, times, turn.error)


def _steps(turns: Sequence[Turn]) -> list[_Step]:
    """Turns in order, equal neighbours as one, then loops as one round, then calls in a row of one tool."""
    groups = [list(equal) for _, equal in groupby(turns, _same)]
    steps: list[_Step] = []
    at = 0
    for cycle in cycles([_same(group[-1]) for group in groups]):
        steps += [_Step(group) for group in groups[at : cycle.start]]
        rounds = [groups[i : i + cycle.period] for i in range(cycle.start, cycle.end, cycle.period)]
        round_ = [[turn for group in parts for turn in group] for parts in zip(*rounds, strict=True)]
        steps += [_Step(group, looped=True) for group in round_]
        names = ", ".join(shorten(group[-1].tool or group[-1].role, 24) for group in round_)
        steps[-1].loop = f"{ELLIPSIS} {cycle.rounds} times in a row the same: {names} {ELLIPSIS}"
        at = cycle.end
    steps += [_Step(group) for group in groups[at:]]
    return _joined(steps)


def _same(turn: Turn) -> Hashable:
    """Equal for turns that repeat: a call with its arguments and outcome, whatever it returned; a text."""
    called = turn.role in ("tool", "retrieval")
    return (turn.role, turn.tool, turn.arguments, turn.error) if called else (turn.role, turn.text)


def _joined(steps: Sequence[_Step]) -> list[_Step]:
    """Many calls of one tool in a row as one step; failures only where they say the same."""

    def alike(step: _Step) -> Hashable:
        turn = step.turns[-1]
        if step.looped or turn.role not in ("tool", "retrieval"):
            return id(step)
        return turn.role, turn.tool, turn.text if turn.error else None

    joined: list[_Step] = []
    for _, run in groupby(steps, alike):
        calls = list(run)
        if len(calls) >= _CALLS_JOINED:
            joined.append(_Step([turn for step in calls for turn in step.turns]))
        else:
            joined += calls
    return joined


def _arguments(raw: str) -> str:
    value = load_json(raw) if raw.startswith("{") and len(raw) < 10_000 else None
    if not isinstance(value, dict):
        return raw
    return ", ".join(f"{key}={text_of(part) or 'null'}" for key, part in value.items())


# ---------------------------------------------------------------------------------------------- importance


def _heed_places(entries: Sequence[Entry]) -> None:
    """Ranks answers by where they stand."""
    for entry in entries:
        if entry.kind == "user":
            break
        if entry.form is ASSISTANT:
            entry.form = GREETING
    said: Entry | None = None
    for entry in reversed(entries):
        if entry.kind == "tool":
            break
        if entry.kind == "assistant":
            said = entry
    else:
        return
    if said is not None and said.form in (ASSISTANT, REFUSAL):
        said.form = OUTCOME


def _heed_signals(entries: Sequence[Entry]) -> None:
    """Marks texts that come again, and ranks what tells trouble before other turns."""
    told: set[str] = set()
    asked: list[frozenset[str]] = []
    for entry in entries:
        if entry.kind not in ("user", "assistant"):
            continue
        text = entry.parts[0]
        again = text in told
        told.add(text)
        if again and len(text) >= _LEAST_REPEATED:
            entry.note = " (again)"
            if entry.form in (USER, ASSISTANT):
                entry.parts = (shorten(text, _AGAIN_CHARS),)
        if entry.kind == "user":
            words = signals.words(text)
            insists = any(signals.asks_again(words, before) for before in (*asked[:1], *asked[-1:]))
            asked.append(words)
            if entry.form is USER and (insists or signals.frustrated(text)):
                entry.form = COMPLAINT
        elif entry.form is ASSISTANT and not again and signals.refuses(text):
            entry.form = REFUSAL


def _with_errors(entries: list[Entry], last_of_span: Mapping[str, int], trace: Trace) -> list[Entry]:
    """Errors after the turn of their span, else at the end. Each message once, in a tool call or alone."""
    told = {turn.text for turn in trace.turns if turn.error}
    after: dict[int, list[Entry]] = {}
    for error in trace.errors:
        if error.message in told:
            continue
        told.add(error.message)
        text = f"{shorten(error.name, 60)}: {error.message or 'no message'}"
        place = last_of_span.get(error.span_id, len(entries) - 1)
        after.setdefault(place, []).append(Entry("error", ERROR, (text,), error.span_id, failed=True))
    merged = after.get(-1, [])
    for i, entry in enumerate(entries):
        merged += [entry, *after.get(i, [])]
    return merged


def _limit(entries: Sequence[Entry]) -> None:
    """Many failures are one fact, and so are many complaints: the first and the last of them matter."""
    for form, ordinary in ((ERROR, TOOL), (FAILED_TOOL, TOOL), (COMPLAINT, USER), (REFUSAL, ASSISTANT)):
        many = [entry for entry in entries if entry.form is form]
        for entry in many[_SHOWN - 1 : -1]:
            entry.form = ordinary
