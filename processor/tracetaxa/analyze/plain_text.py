"""Text from anywhere as plain text of a given length."""

from __future__ import annotations

import re

from tracetaxa.analyze.digests import cutting

ELLIPSIS = "…"
_CONTEXT = 9000
"""Characters around a cut that say whether it is inside a secret: a private key may be so long."""

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]{0,4096}+(?:\x07|\x9c|\x1b\\)"
    r"|\x1b[ -/]*[0-~]"
)
"""Terminal control sequences of ECMA-48: colours, cursor moves, titles and links."""

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]+"
)
"""Control characters, halves of surrogate pairs, and characters that hide, reorder or smuggle text."""


def clean(text: str) -> str:
    """One line: white space as single spaces, nothing that a terminal or a reader would not show."""
    if not text.isprintable():
        text = _INVISIBLE.sub("", _ESCAPES.sub("", text))
    return " ".join(text.split())


def shorten(text: str, limit: int, *, ends: bool = True) -> str:
    """Clean text of at most `limit` characters. What is taken out leaves an ellipsis.

    It is taken from the middle, or with `ends=False` from the end, where the end says little (JSON). No cut
    falls inside a visible character or inside what `redact` hides: that is kept or left out whole.
    """
    if limit < 1:
        return ""
    margin = _margin(limit)
    if len(text) > 2 * margin:  # the middle of a long text is not even cleaned
        head, tail = _cleaned_head(text, limit), _cleaned_tail(text, limit)
    else:
        head = tail = clean(text)
    return _cut(head, tail, limit, ends)


def shorten_clean(text: str, limit: int, *, ends: bool = True) -> str:
    """`shorten` for text that is clean."""
    return text if len(text) <= limit else _cut(text, text, limit, ends) if limit > 0 else ""


def _cut(head: str, tail: str, limit: int, ends: bool) -> str:
    if len(head) <= limit:
        return head
    rear = (limit - 3) // 3
    if rear >= 1 and ends:
        front = head[: cutting.back(head, limit - 3 - rear)].rstrip()
        end = tail[cutting.forward(tail, len(tail) - rear) :].lstrip()
        if front and end:
            return f"{front} {ELLIPSIS} {end}"
    return head[: cutting.back(head, limit - 1)].rstrip() + ELLIPSIS


def truncate(text: str, limit: int) -> str:
    """Text as it is, of at most `limit` characters and an ellipsis for the rest; cut as by `shorten`."""
    return text if len(text) <= limit else text[: cutting.back(text, limit)] + ELLIPSIS


def _margin(limit: int) -> int:
    return 4 * limit + _CONTEXT


def _cleaned_head(text: str, limit: int) -> str:
    """Clean text from the beginning, so much that what stands at `limit` is known with what follows it."""
    size = _margin(limit)
    while True:
        head = clean(text[:size])
        if len(head) >= limit + _CONTEXT // 2 or size >= len(text):
            return head
        size *= 4


def _cleaned_tail(text: str, limit: int) -> str:
    size = _margin(limit)
    while True:
        tail = clean(text[-size:])
        if len(tail) >= limit + _CONTEXT // 2 or size >= len(text):
            return tail
        size *= 4
