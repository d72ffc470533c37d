"""A trace as a few hundred tokens of text: what decides a category, in the words of the trace.

Kept, in this order of importance: the facts, the user's request, the final answer, errors, failing tool
calls and loops, complaints and refusals, what the user said later and other tool calls in turn (those of a
tool that was not used before among them), other answers and retrievals; of equals, those near either end.
What comes again is told once, with how often. System prompts are left out. Whatever is shortened or missing
is marked with an ellipsis.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from tracetaxa.analyze.digests.entries import Entry, Form, entries_of
from tracetaxa.analyze.digests.facts import count, facts
from tracetaxa.analyze.plain_text import ELLIPSIS, shorten
from tracetaxa.records import Digest, DigestLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tracetaxa.records import Trace

CHARACTERS_PER_TOKEN = 4
WIDE_CHARACTERS_PER_TOKEN = 1.5
"""Of Chinese, Japanese, Korean and emoji."""
LEAST_TOKENS = 16
_NOT_WIDE = re.compile(r"[\x00-\u2e7f]+")
_SAMPLED_CHARS = 200
_SAMPLED_TURNS = 40
"""How much of a trace tells in what script it is."""


def digest(trace: Trace, max_tokens: int = 400) -> Digest:
    """The digest of a trace, at most `max_tokens` (and never less than 16) of about four characters.

    The same trace gives the same digest. Each line's text is one line, clean of control characters, and names
    the span that it came from; the facts are of the whole trace and name the first span that says something.
    """
    budget = int(max(max_tokens, LEAST_TOKENS) * _characters_per_token(trace))
    first = DigestLine("facts", shorten(facts(trace), budget // 2), trace.root_span_id)
    entries = entries_of(trace)
    order = _by_importance(entries)[: budget // 20]
    for i in order:
        entries[i].clean(budget)
    full = {i: _line_size(entries[i].kind, entries[i].render(budget)) for i in order}
    reserve = 0
    told: dict[tuple[int, int], str] = {}
    while True:
        rooms = _rooms(entries, full, budget, budget - _size([first]) - reserve)
        lines = [first, *_lines(entries, rooms, told)]
        excess = _size(lines) - budget
        if excess <= 0:
            return Digest(trace.trace_id, tuple(lines))
        if not rooms:
            return Digest(trace.trace_id, (first,))
        reserve += max(excess, 20)


def _characters_per_token(trace: Trace) -> float:
    said = [turn for turn in trace.turns if turn.role != "system"][:_SAMPLED_TURNS]
    sample = "".join(turn.text[:_SAMPLED_CHARS] for turn in said)
    if sample.isascii():
        return CHARACTERS_PER_TOKEN
    wide = len(_NOT_WIDE.sub("", sample)) / len(sample)
    return 1 / (wide / WIDE_CHARACTERS_PER_TOKEN + (1 - wide) / CHARACTERS_PER_TOKEN)


def _by_importance(entries: Sequence[Entry]) -> list[int]:
    """By rank; within it each form in turn, and of each form from both ends of the trace inwards."""
    last = len(entries) - 1
    inwards = sorted(range(len(entries)), key=lambda i: (min(i, last - i), i))
    before = Counter[Form]()
    keys: dict[int, tuple[int, int]] = {}
    for i in inwards:
        form = entries[i].form
        keys[i] = (form.rank, before[form])
        before[form] += 1
    return sorted(inwards, key=keys.__getitem__)


def _rooms(entries: Sequence[Entry], full: Mapping[int, int], budget: int, left: int) -> dict[int, int]:
    """Characters for each line that is kept: the least for all that fit, then more for the important ones.

    `full` has the whole size of each line, the important ones first.
    """
    rooms: dict[int, int] = {}
    for i in full:
        least = min(full[i], entries[i].least(budget) + _line_size(entries[i].kind, ""))
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


def _lines(
    entries: Sequence[Entry], rooms: Mapping[int, int], told: dict[tuple[int, int], str]
) -> Iterable[DigestLine]:
    """Lines in the order of the trace. Gaps of one turn share a mark, at the first: marks cost room.

    `told` keeps what was written into which room: most rooms are the same when it is tried again.
    """
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
                room = rooms[i] - _line_size(entry.kind, "")
                if (i, room) not in told:
                    told[i, room] = entry.render(room)
                yield DigestLine(entry.kind, told[i, room], entry.span_id)


def _cut(left_out: Sequence[Entry], where: str = "") -> DigestLine:
    """What was left out, with the tools that it used most."""
    names = Counter[str]()
    for entry in left_out:
        if entry.kind == "tool":
            names[entry.parts[0]] += entry.times
    tools = ", ".join(f"{shorten(name or 'tool', 24)} x{times}" for name, times in names.most_common(3))
    turns = count(sum(entry.times for entry in left_out), "turn")
    text = f"{ELLIPSIS} {turns} left out{where}{': ' if tools else ''}{tools} {ELLIPSIS}"
    return DigestLine("cut", text, left_out[0].span_id)


def _line_size(kind: str, text: str) -> int:
    return len(kind) + len(": ") + len(text) + len("\n")


def _size(lines: Iterable[DigestLine]) -> int:
    return sum(_line_size(line.kind, line.text) for line in lines)
