"""A quote inside the text it was taken from, cut to what fits on a page."""

from __future__ import annotations

import re
from dataclasses import dataclass

CUT = "…"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """`before + quote + after` is part of a text; `quote` is empty when the text does not hold it."""

    before: str
    quote: str
    after: str

    @property
    def found(self) -> bool:
        return bool(self.quote)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters; a … where something was cut, between words if one ends near."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    space = max(head.rfind(" "), head.rfind("\n"))
    return (head[:space] if space > limit * 3 // 4 else head).rstrip() + CUT


def excerpt(text: str, quote: str, limit: int = 600) -> Excerpt:
    """About `limit` characters of `text` around `quote`, which is found whatever its white space."""
    words = quote.split()
    match = re.search(r"\s+".join(map(re.escape, words)), text) if words else None
    if match is None:
        return Excerpt(clip(text, limit), "", "")
    before, held, after = text[: match.start()], match[0], text[match.end() :]
    if len(text) <= limit:
        return Excerpt(before, held, after)
    room = max(limit - len(held), limit // 4)
    lead = min(len(before), max(room // 2, room - len(after)))
    return Excerpt(_clip_left(before, lead), clip(held, limit), clip(after, max(1, room - lead)))


def _clip_left(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    if limit < 2:
        return CUT
    tail = text[-(limit - 1) :]
    space = tail.find(" ")
    return CUT + (tail[space + 1 :] if 0 <= space < limit // 4 else tail)
