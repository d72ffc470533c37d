"""How many tokens a text is, without the model's own vocabulary.

Vocabularies differ, are large, and most are to be had over the network only. What a quote needs is a count
that is right on average. So the text is cut much as OpenAI's `o200k_base` cuts it before it merges bytes
(words, groups of three digits, runs of signs, line ends), and each kind of piece has a weight that was fitted
to it: docs/method.md has the errors, and `python -m bench cost` measures them again.
"""

from __future__ import annotations

import re
from functools import lru_cache

TOKENIZER = "estimate of o200k_base"
"""What counts are counted by, for those who show them."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_LONG_WORD = 7
"""Letters of a word that are one token; each one more adds `_PER_LETTER`."""
_PER_LETTER = 0.35
_SIGNS = re.compile(r"[!-/:-@\[-^`{-~]+")
_LONG_SIGNS = 2
_SIGN = 0.65
_PER_SIGN = 0.4
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
_PER_FOREIGN_BYTE = 0.22
"""Scripts other than Latin: on the high side for Cyrillic and Thai, even for Chinese, Japanese and Arabic."""
_OTHERS = (
    (re.compile(r"\d{1,3}"), 1.2),
    (re.compile(r"_+"), 0.75),
    (re.compile(r"\s*\n"), 0.35),
    (re.compile(r"[ \t]{2,}"), 0.8),
)


@lru_cache(maxsize=64)  # a prompt is counted by whoever paces, reserves and quotes it
def estimate_tokens(text: str) -> int:
    """Tokens of `text`, within some 10 % for prose and digests; raw JSON has up to a sixth more.

    Random letters are more, up to three times as many.
    """
    words, signs = _WORD.findall(text), _SIGNS.findall(text)
    total = len(words) + _PER_LETTER * sum(len(w) - _LONG_WORD for w in words if len(w) > _LONG_WORD)
    total += _SIGN * len(signs) + _PER_SIGN * sum(len(s) - _LONG_SIGNS for s in signs if len(s) > _LONG_SIGNS)
    for kind, weight in _OTHERS:
        total += weight * len(kind.findall(text))
    if not text.isascii():
        total += _PER_FOREIGN_BYTE * len("".join(_FOREIGN.findall(text)).encode("utf-8", "replace"))
    return round(total)
