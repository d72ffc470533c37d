"""What a turn says about how the conversation goes, told cheaply: it decides what a digest keeps.

First what needs no language: a request that comes again, shouting, doubled marks. Then the few words of
`signals.toml`.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

READ = 600
"""Characters of a turn that are looked at."""

_SHOUTING = re.compile(r"[!?]{2}|！！|？？|[😠😡🤬😤👎]|\b[A-Z]{3,}\s[A-Z]{2,}\s[A-Z]{2,}")
_WORD = re.compile(r"[^\W\d_]{3,}")
_SAME = 0.5
"""Share of words in common that makes two requests one (Jaccard index)."""
_ENOUGH = 4
"""Words in common, at least: a greeting is no request."""


def refuses(text: str) -> bool:
    """Whether an assistant says that it can't or won't, or is sorry."""
    return _says("refusal", text)


def frustrated(text: str) -> bool:
    """Whether a user is not pleased."""
    return _SHOUTING.search(text[:READ]) is not None or _says("frustration", text)


def words(text: str) -> frozenset[str]:
    """What `asks_again` compares: words, and of a script that is written without spaces pairs of letters."""
    found = set[str]()
    for word in _WORD.findall(text[:READ].lower()):
        if word > "\u2e80":
            found.update(word[i : i + 2] for i in range(len(word) - 1))
        else:
            found.add(word)
    return frozenset(found)


def asks_again(asked: frozenset[str], before: frozenset[str]) -> bool:
    """Whether two turns ask for the same in nearly the same words."""
    common = len(asked & before)
    return common >= _ENOUGH and common >= _SAME * len(asked | before)


def _says(signal: str, text: str) -> bool:
    return _patterns()[signal].search(text[:READ].lower().replace("’", "'")) is not None


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    content = resources.files(__package__).joinpath("signals.toml").read_text(encoding="utf-8")
    return {signal: _pattern(phrases) for signal, phrases in tomllib.loads(content).items()}


def _pattern(by_language: dict[str, list[str]]) -> re.Pattern[str]:
    """At the beginning of a word, where the script has words."""
    phrases = sorted({phrase for phrases in by_language.values() for phrase in phrases})
    spaced = "|".join(re.escape(p) for p in phrases if p < "\u2e80")
    unspaced = "|".join(re.escape(p) for p in phrases if p >= "\u2e80")
    return re.compile(rf"\b(?:{spaced})|{unspaced}")
