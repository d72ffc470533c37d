"""ClickHouse's complaints about a condition, for people who wrote only that condition."""

from __future__ import annotations

import re

_SYNTAX = re.compile(r"Syntax error[^:]*: failed at [^:]*: (.*)", re.DOTALL)
_EXPECTED = re.compile(r"\.? ?Expected one of: .*", re.DOTALL)
_AROUND = re.compile(
    r"[:.]? (?:In scope|while (?:converting|executing|processing|analyzing|parsing)) .*|"
    r"\.? \([A-Z_]+\)(?: \(version .*\))?$",
    re.DOTALL,
)
_MOST_CHARS = 200


def in_short(message: str) -> str:
    """Its own sentence: no code, no position in a statement that is ours, no list of all that may follow."""
    text = re.sub(r"^.*?DB::Exception: ", "", message)
    if found := _SYNTAX.match(text):
        rest = _AROUND.sub("", _EXPECTED.sub("", found[1])).strip()
        return f"this is not SQL: {_clipped(rest)}" if rest else "something is missing at its end"
    return _clipped(_AROUND.sub("", text))


def _clipped(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"
