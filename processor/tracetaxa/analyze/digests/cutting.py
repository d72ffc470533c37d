"""Where a text may be cut: not inside a character that a person sees as one, nor inside what redaction hides.

A character is an extended grapheme cluster (Unicode Standard Annex 29): a letter with its accents, a Hangul
syllable, a flag, an emoji with its parts. The rules here are the annex's, mostly wider, from the tables that
Python has, so that no package is needed; not joined are Arabic number signs with a Latin letter, and
consonants whose virama is followed by another mark.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from tracetaxa.analyze.redaction.hidden import hidden_across

P = ParamSpec("P")
T = TypeVar("T")

Hidden = Callable[[str, int], tuple[int, int]]
"""Text, a place in it → (start, end) of what is hidden on both sides of the place; see hidden.py."""

_WORD = 16
"""How far a cut moves so as not to break a word."""
_ENDS_WORD = frozenset(" \n\t\r,;")

_JOINER = "\u200d"
_MARKS = frozenset({"Mn", "Mc", "Me"})
_JOINS_BEFORE = frozenset("\u200c\u200d\u0e33\u0eb3\uff9e\uff9f")
"""Joiners, and letters and signs that are shown as part of what stands before them."""
_VIRAMA = 9
"""Canonical combining class of the signs that join two Indic consonants."""

_hidden: ContextVar[Hidden] = ContextVar("hidden", default=hidden_across)


def sparing(hidden: Hidden, make: Callable[P, T]) -> Callable[P, T]:
    """`make`, with no cut that it makes inside what `hidden` finds; else only built-in kinds are spared."""

    def spared(*args: P.args, **kwargs: P.kwargs) -> T:
        token = _hidden.set(hidden)
        try:
            return make(*args, **kwargs)
        finally:
            _hidden.reset(token)

    return spared


def back(text: str, at: int) -> int:
    """The last place at or before `at` where `text` may end."""
    if at >= len(text):
        return len(text)
    at = _before_word(text, at)
    hidden = _hidden.get()
    while at > 0:
        start, _ = hidden(text, at)
        while start > 0 and _joined(text, start):
            start -= 1
        if start == at:
            break
        at = start
    return max(at, 0)


def forward(text: str, at: int) -> int:
    """The first place at or after `at` where `text` may begin."""
    if at <= 0:
        return 0
    at = _after_word(text, at)
    hidden = _hidden.get()
    while at < len(text):
        _, end = hidden(text, at)
        while end < len(text) and _joined(text, end):
            end += 1
        if end == at:
            break
        at = end
    return min(at, len(text))


def _before_word(text: str, at: int) -> int:
    if text[at] in _ENDS_WORD:
        return at
    for place in range(at, max(1, at - _WORD), -1):
        if text[place - 1] in _ENDS_WORD:
            return place
    return at


def _after_word(text: str, at: int) -> int:
    for place in range(at, min(len(text), at + _WORD)):
        if text[place - 1] in _ENDS_WORD:
            return place
    return at


def _joined(text: str, at: int) -> bool:
    """Whether the code points on both sides of `at` are of one character."""
    after = text[at]
    if after < "\u0300":
        return False
    before = text[at - 1]
    if after in _JOINS_BEFORE or unicodedata.category(after) in _MARKS:
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff":  # skin tones
        return True
    if before < "\u0300":
        return False
    if before == _JOINER or unicodedata.combining(before) == _VIRAMA or unicodedata.category(before) == "Cf":
        return True
    if _regional(before) and _regional(after):  # flags: pairs of letters
        first = at - 1
        while first > 0 and _regional(text[first - 1]):
            first -= 1
        return (at - first) % 2 == 1
    return (_hangul(before) and _jamo(after)) or (_jamo(before) and _hangul(after))


def _regional(c: str) -> bool:
    return "\U0001f1e6" <= c <= "\U0001f1ff"


def _jamo(c: str) -> bool:
    return "\u1100" <= c <= "\u11ff" or "\ua960" <= c <= "\ua97c" or "\ud7b0" <= c <= "\ud7fb"


def _hangul(c: str) -> bool:
    return _jamo(c) or "\uac00" <= c <= "\ud7a3"
