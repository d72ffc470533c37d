"""A label's evidence: a quote that a program finds in the trace, or no evidence at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.analyze.untrusted.fence import neutralise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracetaxa.records import Digest

QUOTABLE = frozenset({"user", "assistant", "tool", "error"})
"""Kinds of digest lines that tell what was said, done or failed; a program wrote the others."""

MIN_CHARS = 8
"""A shorter quote is found anywhere; it counts only when it is a whole line."""
_MAX_CHARS = 500

_PREFIX = re.compile(r"^(?:user|assistant|tool|error)\s*:\s*", re.IGNORECASE)
_QUOTES = "'\"`‘’‚“”„«»"
_SAME = (
    dict.fromkeys("'`‘’‚", "['`‘’‚]")
    | dict.fromkeys('"“”„«»', '["“”„«»]')
    | dict.fromkeys("-‐‑‒–—", "[-‐‑‒–—]")
)
"""Characters that models write for one another when they copy."""


@dataclass(frozen=True, slots=True)
class Evidence:
    text: str
    """As it stands in the line, not as the model wrote it."""
    span_id: str


def quotable(lines: Iterable[tuple[str, str]]) -> bool:
    """Whether digest lines, as (kind, text), hold anything that can be evidence."""
    return any(kind in QUOTABLE and text.strip() for kind, text in lines)


def find(quote: str, digest: Digest) -> Evidence | None:
    """The first line of a `QUOTABLE` kind with `quote`, apart from case, white space, typographic quotes."""
    exact = neutralise(quote)[:_MAX_CHARS]
    for wanted in dict.fromkeys((exact, _clean(exact))):
        found = _find(wanted, digest) if wanted else None
        if found is not None:
            return found
    return None


def _find(wanted: str, digest: Digest) -> Evidence | None:
    lines = [(neutralise(line.text), line) for line in digest.lines if line.kind in QUOTABLE]
    exact = " ".join(wanted.split())
    # Most quotes are copied to the letter, and then no pattern needs to be made.
    if len(exact) >= MIN_CHARS:
        for text, line in lines:
            if exact in text:
                return Evidence(exact, line.span_id)
    pattern = re.compile(r"\s+".join(_word(word) for word in wanted.split()), re.IGNORECASE)
    for text, line in lines:
        match = pattern.search(text)
        if match and (len(match[0]) >= MIN_CHARS or len(match[0]) >= len(text.strip(_QUOTES + ". "))):
            return Evidence(match[0], line.span_id)
    return None


def _clean(quote: str) -> str:
    """Without what models put around a quote: quotation marks, the line's kind, an ellipsis."""
    quote = _PREFIX.sub("", quote.strip(_QUOTES + " "))
    return quote.removesuffix("…").removesuffix("...").strip(_QUOTES + " ")


def _word(word: str) -> str:
    return "".join(_SAME.get(c) or re.escape(c) for c in word)
