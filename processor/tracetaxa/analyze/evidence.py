"""A label's evidence: a quote that a program finds in the trace, or no evidence at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.analyze.fence import neutralise

if TYPE_CHECKING:
    from tracetaxa.records import Digest

MIN_CHARS = 8
"""A shorter quote is found anywhere; it counts only when it is a whole line."""
_MAX_CHARS = 500

_PREFIX = re.compile(r"^(?:user|assistant|tool|error|facts)\s*:\s*", re.IGNORECASE)
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


def find(quote: str, digest: Digest) -> Evidence | None:
    """The first digest line that holds `quote`, apart from case, white space and typographic quotes.

    A `cut` line is no evidence: a program wrote it.
    """
    exact = neutralise(quote)[:_MAX_CHARS]
    for wanted in dict.fromkeys((exact, _clean(exact))):
        found = _find(wanted, digest) if wanted else None
        if found is not None:
            return found
    return None


def _find(wanted: str, digest: Digest) -> Evidence | None:
    pattern = re.compile(r"\s+".join(_word(word) for word in wanted.split()), re.IGNORECASE)
    for line in digest.lines:
        if line.kind == "cut":
            continue
        text = neutralise(line.text)
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
