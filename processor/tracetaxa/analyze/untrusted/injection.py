"""Text in a recording that speaks to whoever reads the recording: signs of a prompt injection.

Such a trace is not thrown away: it is labelled by itself, so that it can move no label but its own, and it
shapes neither the taxonomy nor the examples that others are labelled by. It is a search for phrases
(`injection.toml`), under the disguises that models read through: other encodings, look-alike letters,
letters apart. It is meant to find too much rather than too little, and can be evaded: docs/security.md says
what holds even then.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    _Decoder = tuple[re.Pattern[str], Callable[[str], str]]

_NEAR = 80
"""Characters between a verb and its noun."""
_MOST_CHARS = 20_000
_MOST_ENCODED = 16
"""Encoded passages of one text that are decoded: more say nothing new."""

_MARKERS = re.compile(
    r"<{3}|>{3}|\bdata\s*>{2}|<\s?\||\|\s?>|\[\s?/?\s?inst\s?\]|<<\s*/?sys\s*>>|<\s?/?s\s?>"
    r"|<\s*/?\s*(?:system|data|instructions?|prompt|user|assistant|human|end|context|document|trace)\b[^<>]{0,40}>"
    r"|#{2,}\s*(?:system|instruction|new|end|task|response|human|user|assistant)\b"
    r"|(?:^|[\n.!?\]})>|:\-]\s*)(?:system|developer|admin|assistant|human)\s*:\s"
    r"|[\"']role[\"']\s*:\s*[\"'](?:system|developer|assistant)"
    r"|[\"'](?:labels?|evidence)[\"']\s*:"
    r"|-{3,}\s*(?:begin|end|system|new)\b|={3,}\s*(?:begin|end|system|new)\b"
    r"|\{\{.{0,40}\}\}|```\s*(?:system|json\s*\{\s*\"labels)",
    re.IGNORECASE,
)
"""Ends of fences, chat templates, and replies in the shape of ours."""
_SMUGGLED = re.compile("[\U000e0020-\U000e007f\u202d\u202e]|(?<=\\w)[\u200b\u2060\u2062-\u2064\u00ad](?=\\w)")
"""Tag characters, reversed text, and letters that are parted so that nobody sees it."""
_UNSEEN = re.compile(
    "[\u0300-\u036f\u0591-\u05c7\u064b-\u0652\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\U000e0000-\U000e007f]+"
)
"""Accents, points and characters without a shape."""
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{20,}={0,2}(?![A-Za-z0-9+/])")
_HEX = re.compile(r"(?<![0-9a-zA-Z])(?:0x)?(?:[0-9a-fA-F]{2}[\s:,-]?){12,}(?![0-9a-zA-Z])")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2}){3}|%20\w+%20")
_ESCAPED = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}")
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-fA-F]+|\w{2,8});")
_APART = re.compile(r"(?<!\w)(?:\w[ .\-_*|/]{1,2}){5,}\w(?!\w)")
_PROSE = re.compile(r"[A-Za-z]{2,}[\s,]+[A-Za-z]{2,}[\s,]+[A-Za-z]{2,}")
_LINK = re.compile(r"https?:|www\.|\w@\w|\b[\w-]+\.(?:com|net|org|io|example)\b|\d{5}", re.IGNORECASE)

_PAIRS = ("override", "labels")
_UNSPACED = "\u0590"
"""From here on are the scripts whose words are written together, or with an article in front."""
_SHORT = (1, 2, 3)
"""Letters of a last word that is no beginning of longer ones."""

_TURNED_CHARS = 5

_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEET_WORD = re.compile(r"[a-z][013457@$!|]+[a-z]|\b[013457@$!|][a-z]{2}")
_LOOK_ALIKES = str.maketrans(
    "абвгдезикмнорстухіјѕԁԛԝһαβεικμνορτυχωı",
    "abbrdezukmhopctyxijsdqwhabeikmvoptuxwi",
)
"""Cyrillic and Greek letters by the Latin ones that they look like."""
_MIXED = re.compile(r"[a-z][\u0370-\u052f]|[\u0370-\u052f][a-z]")


@lru_cache(maxsize=8192)
def suspicious(lines: Sequence[str]) -> bool:
    """Whether any of these lines (a digest's texts, as a tuple) speaks to its reader."""
    return bool(signs("\n".join(lines)))


def unfit(text: str) -> bool:
    """Whether what a model wrote is no plain description: it speaks to the reader, or gives an address."""
    return bool(signs(text)) or _LINK.search(text) is not None


def signs(text: str) -> frozenset[str]:
    """Those that were found: `override`, `labels`, `address`, `markers`, `smuggled`, `encoded`."""
    text = text[:_MOST_CHARS]
    found = set[str]()
    if _SMUGGLED.search(text):
        found.add("smuggled")
    if _MARKERS.search(unicodedata.normalize("NFKC", text)):
        found.add("markers")
    hidden = list(_decoded(text))
    if hidden:
        found.add("encoded")
    for view in (text, *hidden):
        folded = _fold(view)
        found.update(*map(_phrases, _readings(folded)))
    return frozenset(found)


def _readings(folded: str) -> Iterator[str]:
    """The text as it stands, and as it is meant where it is disguised."""
    yield folded
    if _MIXED.search(folded):
        yield folded.translate(_LOOK_ALIKES)
    if _LEET_WORD.search(folded):
        yield folded.translate(_LEET)
    joined = _APART.sub(lambda m: re.sub(r"[\W_]", "", m[0]), folded)
    if joined != folded:
        yield joined
        yield from _split(joined)
    if _lexicon().turned.search(folded):
        yield _rot13(folded)
        yield folded[::-1]


def _split(text: str) -> Iterator[str]:
    """Words that were written without spaces, apart again at the stems that we look for."""
    stems = [s for s in _lexicon().stems if len(s) >= 4 and s.isascii()]
    yield re.sub("|".join(map(re.escape, sorted(stems, key=len, reverse=True))), lambda m: f" {m[0]}", text)


def _decoded(text: str) -> Iterator[str]:
    """Passages that read as words once they are decoded."""
    passages: tuple[_Decoder, ...] = ((_BASE64, _from_base64), (_HEX, _from_hex))
    for pattern, decode in passages:
        for match in islice(pattern.finditer(text), _MOST_ENCODED):
            plain = decode(match[0])
            if _PROSE.search(plain):
                yield plain
    whole: tuple[_Decoder, ...] = ((_PERCENT, unquote), (_ENTITY, html.unescape), (_ESCAPED, _unescaped))
    for pattern, decode in whole:
        if pattern.search(text):
            plain = decode(text)
            if plain != text and any(_phrases(_fold(plain)) - _phrases(_fold(text))):
                yield plain


def _from_base64(text: str) -> str:
    raw = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(raw + "=" * (-len(raw) % 4)).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _from_hex(text: str) -> str:
    digits = re.sub(r"[^0-9a-fA-F]", "", text.removeprefix("0x"))
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8")
    except (ValueError, UnicodeDecodeError):
        return ""


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda m: chr(int(m[0][2:], 16)), text)


def _rot13(text: str) -> str:
    return codecs.encode(text, "rot13")


def _fold(text: str) -> str:
    """Small letters without accents, invisible characters and styles; one space between words."""
    if not text.isascii():
        text = _UNSEEN.sub("", unicodedata.normalize("NFKD", text))
    return re.sub(r"[ \t\r\f\v]+", " ", text.lower().replace("’", "'"))


# ---------------------------------------------------------------------------------------- phrases


@dataclass(frozen=True, slots=True)
class _Stems:
    """Beginnings of words in several languages, looked for together."""

    pattern: re.Pattern[str]
    languages: dict[str, frozenset[str]]

    @classmethod
    def of(cls, by_language: dict[str, list[str]]) -> _Stems:
        languages: dict[str, set[str]] = {}
        for language, stems in by_language.items():
            for stem in stems:
                languages.setdefault(_fold(stem), set()).add(language)
        spaced = _alternation(s for s in languages if s < _UNSPACED)
        unspaced = _alternation(s for s in languages if s >= _UNSPACED)
        pattern = rf"\b(?:{spaced})" + (f"|(?:{unspaced})" if unspaced else "")
        return cls(re.compile(pattern), {s: frozenset(found) for s, found in languages.items()})

    def find(self, text: str) -> list[tuple[int, frozenset[str]]]:
        """Where one begins, and in which languages it is one."""
        return [(m.start(), self.languages[m[0]]) for m in self.pattern.finditer(text)]


def _alternation(stems: Iterable[str]) -> str:
    """Branches by first letter, which the engine can pass over quickly; of two that fit, the longer.

    A short last word is a whole one: "to the ai" is not "to the airport".
    """
    branches: dict[str, list[str]] = {}
    for stem in sorted(stems, key=lambda s: (-len(s), s)):
        end = r"(?!\w)" if stem[-1].isascii() and len(stem.rpartition(" ")[2]) in _SHORT else ""
        branches.setdefault(stem[0], []).append(re.escape(stem[1:]) + end)
    return "|".join(f"{re.escape(first)}(?:{'|'.join(rest)})" for first, rest in sorted(branches.items()))


@dataclass(frozen=True, slots=True)
class _Lexicon:
    pairs: dict[str, tuple[_Stems, _Stems]]
    """Verbs and nouns that say something where they stand together."""
    address: _Stems
    turned: re.Pattern[str]
    """The longer ones in rot13 and backwards: what has none of them need not be read so."""

    @property
    def stems(self) -> Iterator[str]:
        for verbs, nouns in self.pairs.values():
            yield from (*verbs.languages, *nouns.languages)
        yield from self.address.languages


@cache
def _lexicon() -> _Lexicon:
    content = resources.files(__package__).joinpath("injection.toml").read_text(encoding="utf-8")
    lists = tomllib.loads(content)
    pairs = {name: (_Stems.of(lists[name]["verbs"]), _Stems.of(lists[name]["nouns"])) for name in _PAIRS}
    address = _Stems.of(lists["address"])
    opening = (*address.languages, *(stem for verbs, _ in pairs.values() for stem in verbs.languages))
    long = [stem for stem in opening if stem.isascii() and len(stem) >= _TURNED_CHARS]
    turned = _alternation({_rot13(stem) for stem in long} | {stem[::-1].strip() for stem in long})
    return _Lexicon(pairs, address, re.compile(turned))


def _phrases(text: str) -> frozenset[str]:
    lexicon = _lexicon()
    found = {name for name, (verbs, nouns) in lexicon.pairs.items() if _near(verbs.find(text), nouns, text)}
    if lexicon.address.pattern.search(text):
        found.add("address")
    return frozenset(found)


def _near(verbs: Iterable[tuple[int, frozenset[str]]], nouns: _Stems, text: str) -> bool:
    """Whether a noun of the same language stands near one of the verbs."""
    for at, languages in verbs:
        window = text[max(0, at - _NEAR) : at + _NEAR]
        if any(languages & spoken for _, spoken in nouns.find(window)):
            return True
    return False
