"""What redaction hides around one place in a text: where the text must not be cut.

The patterns of patterns.py, tried only where a cheap test says that one of them may hold: a digest is cut in
many places, and all patterns over all of its text would cost more than making it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tracetaxa.analyze.redaction import patterns

if TYPE_CHECKING:
    from collections.abc import Iterator

_REACH = 512
_FAR_REACH = 20_000
"""How far a word is looked at, and one that goes on beyond: web tokens are the longest keys."""
_URL_REACH = 330
"""Credentials in an address are shorter."""
_KEY_BLOCK = 8300
"""No private key is longer."""
_BREAK = re.compile(r"[\s\"',;]")
_NAME_REACH = 64
"""A name and what stands between it and its value are shorter."""
_NUMERIC = "0123456789 +().-/"
"""What numbers in groups are written with; an IBAN has letters too."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NUMBER_REACH = 64
_LONGEST_NUMBER = 80
"""Digits and signs that go on for longer are a table of numbers."""
_SEVEN_DIGITS = re.compile(r"(?:\D*\d){7}")
_WORDS = (patterns.KEY, patterns.TOKEN, patterns.IPV4, patterns.IPV6)
_NAMED = tuple(
    (rule.pattern, rule.hints)
    for rule in patterns.RULES
    if rule.pattern
    in (
        *(patterns.BEARER, patterns.NAMED_KEY, patterns.NAMED_TOKEN, patterns.NAMED_PASSWORD),
        *(patterns.SPOKEN_PASSWORD, patterns.NAMED_PHONE),
    )
)
"""Values that a name gives away, with what their names have in them."""


def hidden_across(text: str, at: int) -> tuple[int, int]:
    """(start, end) of what redaction hides on both sides of `at`; (at, at) where it hides nothing.

    May be wider than what is hidden, and takes in what only looks like a card or a phone number.
    """
    if not 0 < at < len(text):
        return at, at
    found = [*_hidden_word(text, at), *_hidden_number(text, at), *_hidden_block(text, at)]
    return across(found, at)


def across(found: list[tuple[int, int]], at: int) -> tuple[int, int]:
    """The part of a text that all spans around `at` cover together; (at, at) when there are none."""
    around = [(start, end) for start, end in found if start < at < end]
    return min((s for s, _ in around), default=at), max((e for _, e in around), default=at)


def _hidden_word(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Keys, addresses and named values around `at`: a word that nothing in `_BREAK` interrupts."""
    low, high = max(0, at - _REACH), min(len(text), at + _REACH)
    last = _BREAK.search(text[low:at][::-1])
    start = at - last.start() if last else low
    broken = _BREAK.search(text, at, high)
    end = broken.start() if broken else high
    if last is None or broken is None:
        far = _BREAK.search(text[max(0, at - _FAR_REACH) : at][::-1])
        start = at - far.start() if far else max(0, at - _FAR_REACH)
        broken = _BREAK.search(text, at, at + _FAR_REACH)
        end = broken.start() if broken else min(len(text), at + _FAR_REACH)
    if end - start > 6:
        for pattern in _WORDS:
            yield from _matches(pattern, text, start, end)
        if "@" in text[start:end]:
            yield from _matches(patterns.EMAIL, text, max(0, start - 1), end)
    # A value in quotes may hold breaks, and a bare one may be the word after this one.
    before = max(0, min(start, at - _REACH) - _NAME_REACH)
    after = min(len(text), max(end, at + _REACH) + _NAME_REACH)
    folded = text[before:after].casefold()
    for pattern, hints in _NAMED:
        if any(map(folded.__contains__, hints)):
            yield from _matches(pattern, text, before, after)


def _hidden_number(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Numbers in groups around `at`, whatever they are numbers of."""
    start, end = _surroundings(text, at, _NUMERIC + _LETTERS)
    if end - start < 7 or _SEVEN_DIGITS.match(text, start, end) is None:
        return
    yield from _matches(patterns.IBAN, text, start, min(len(text), end + 2))
    start, end = _surroundings(text, at, _NUMERIC)
    if _SEVEN_DIGITS.match(text, start, end) is None:
        return
    if end - start <= _LONGEST_NUMBER:
        yield start, end
    else:
        for pattern in (patterns.CARD, patterns.SSN, *(phone for phone, _ in patterns.PHONES)):
            yield from _matches(pattern, text, start, min(len(text), end + 2))


def _surroundings(text: str, at: int, characters: str) -> tuple[int, int]:
    """(start, end) of what is written with these characters around `at`, within `_NUMBER_REACH`."""
    left, right = text[max(0, at - _NUMBER_REACH) : at], text[at : at + _NUMBER_REACH]
    return at - len(left) + len(left.rstrip(characters)), at + len(right) - len(right.lstrip(characters))


def _hidden_block(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Private keys and credentials in addresses around `at`: these may hold breaks."""
    low, high = max(0, at - _URL_REACH), at + _URL_REACH
    if text.find("@", low, high) >= 0:
        yield from _matches(patterns.CREDENTIALS, text, low, high)
    low = max(0, at - _KEY_BLOCK)
    if text.find("PRIVATE KEY-----", low, at + _KEY_BLOCK) >= 0:
        yield from _matches(patterns.PRIVATE_KEY, text, low, at + _KEY_BLOCK)


def _matches(pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (match.span() for match in pattern.finditer(text, start, end))
