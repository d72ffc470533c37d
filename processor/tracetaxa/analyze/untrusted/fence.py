"""Trace content as data: what a model reads is marked off and can't look like the marks.

Everything a trace holds was written by strangers. Before it goes into a prompt it becomes one printable
line, loses what could pass for our fences or for a chat template's special tokens, and is put between markers
that name a word nobody can know beforehand. That word is also the piece's key in the reply, so that no piece
can call another one by its name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOK_ALIKES = (
    (re.compile(r"<{3,}"), "<<"),
    (re.compile(r">{3,}"), ">>"),
    (re.compile(r"<\|"), "< |"),
    (re.compile(r"\|>"), "| >"),
    (re.compile(r"\[(/?)INST\]"), r"[ \1INST ]"),
    (re.compile(r"<(/?)s>"), r"< \1s >"),
)
_HIDDEN = frozenset({"Cf", "Co", "Cs", "Cn"})
"""Unicode categories that a person does not see: format controls, tags, private use, unassigned."""

_ODD = re.compile(r"[^\x00-\x7f]")
_WIDE = dict.fromkeys("＜﹤", "<") | dict.fromkeys("＞﹥", ">")
_MARK = re.compile(r"[<>\[]")
"""What every look-alike has one of."""

_CONSONANTS = "bcdfghjklmnprstvz"
_VOWELS = "aeiou"
_SYLLABLES = tuple(c + v for c in _CONSONANTS for v in _VOWELS)
_KEY_SYLLABLES = 3


@lru_cache(maxsize=4096)  # a line is shown, shown again, and searched for quotes
def neutralise(text: str) -> str:
    """`text` as one line of visible characters without look-alikes of our markers. Idempotent."""
    # Most texts have few characters that are not plain: those are looked at once each.
    if not text.isascii():
        odd = set(_ODD.findall(text))
        changes: dict[int, str | None] = {ord(c): None for c in odd if unicodedata.category(c) in _HIDDEN}
        changes |= {ord(c): _WIDE[c] for c in odd if c in _WIDE}
        text = text.translate(changes) if changes else text
    if not text.isprintable():
        text = text.translate({ord(c): " " for c in set(text) if not c.isprintable()})
    if _MARK.search(text):
        for pattern, replacement in _LOOK_ALIKES:
            text = pattern.sub(replacement, text)
    return " ".join(text.split())


def keys(seed: int, contents: Iterable[str], count: int) -> list[str]:
    """Distinct made-up words such as 'kobetu' for the pieces of one request, one in 614,125 each.

    They depend on all content of the request, so no content can hold them; the same request has the same
    ones, so that replies can be cached. Syllables cost fewer tokens than digits, and are copied better.
    """
    digest = hashlib.sha256(str(seed).encode())
    for content in contents:
        digest.update(b"\0")
        digest.update(content.encode("utf-8", "replace"))
    found: dict[str, None] = {}
    number = 0
    while len(found) < count:
        drawn = int.from_bytes(hashlib.sha256(digest.digest() + number.to_bytes(4)).digest()[:8])
        word = ""
        for _ in range(_KEY_SYLLABLES):
            drawn, syllable = divmod(drawn, len(_SYLLABLES))
            word += _SYLLABLES[syllable]
        found[word] = None
        number += 1
    return list(found)


def block(key: str, lines: Iterable[str]) -> str:
    """Lines between markers; the lines have been through `neutralise`."""
    return "\n".join([f"<<<data {key}>>>", *lines, f"<<<end {key}>>>"])
