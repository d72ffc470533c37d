"""Text from anywhere as plain text of a given length."""

from __future__ import annotations

import re

ELLIPSIS = "…"

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

    It is taken from the middle, or with `ends=False` from the end, where the end says little (JSON).
    """
    if limit < 1:
        return ""
    margin = 4 * limit + 64
    if len(text) > 2 * margin:  # the middle of a long text is not even cleaned
        head, tail = clean(text[:margin]), clean(text[-margin:])
    else:
        head = tail = clean(text)
        if len(head) <= limit:
            return head
    back = (limit - 3) // 3
    if back < 1 or not ends:
        return head[: limit - 1].rstrip() + ELLIPSIS
    front = limit - 3 - back
    return f"{head[:front].rstrip()} {ELLIPSIS} {tail[-back:].lstrip()}"
