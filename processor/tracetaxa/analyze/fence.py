"""Trace content as data: what a model reads is marked off and can't look like the marks.

Everything a trace holds was written by strangers. Before it goes into a prompt it becomes one printable
line, loses what could pass for our fences or for a chat template's special tokens, and is put between markers
that name a number nobody can know beforehand.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
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


def neutralise(text: str) -> str:
    """`text` as one line of visible characters without look-alikes of our markers. Idempotent."""
    if not text.isascii():
        text = "".join(
            "<" if c in "＜﹤" else ">" if c in "＞﹥" else c
            for c in text
            if unicodedata.category(c) not in _HIDDEN
        )
    text = "".join(c if c.isprintable() else " " for c in text)
    for pattern, replacement in _LOOK_ALIKES:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def marker(seed: int, contents: Iterable[str]) -> str:
    """The number in the fences of one request.

    It depends on all content between them, so no content can hold it; the same request has the same one,
    so that replies can be cached.
    """
    digest = hashlib.sha256(str(seed).encode())
    for content in contents:
        digest.update(b"\0")
        digest.update(content.encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def block(key: str, number: str, lines: Iterable[str]) -> str:
    """Lines between markers; the lines have been through `neutralise`."""
    return "\n".join([f"<<<data {key} {number}>>>", *lines, f"<<<end {key} {number}>>>"])
