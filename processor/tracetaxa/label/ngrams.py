"""Words, word pairs and character n-grams of many texts at once, as 64-bit hashes.

There is no vocabulary to keep: a gram is known by its hash alone ("hashing trick", Weinberger et al. 2009).
The texts of a batch are one array of code points. Prefix sums of code point times a power of an odd base give
the polynomial hash of any piece of it in two array reads (Karp and Rabin 1987), so that no gram is ever a
Python object. Hashes are the same on every machine and in every process.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Hashes = npt.NDArray[np.uint64]
Documents = npt.NDArray[np.int64]

CHARACTERS = (3, 4)
"""Lengths of character n-grams; they stay within a word and the spaces around it."""

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)
_SPACE, _NEWLINE = 0x20, 0x0A
_SMALL = 2**16
"""Code points below are in the table of what is a word."""
_WIDE_FROM = 0x2E80
"""Chinese, Japanese and emoji, which stand without spaces: each character is a word."""
_HANGUL = (0xAC00, 0xD7A4)
_SERIAL, _SERIAL_LENGTH = 0x23, 5
"""Words of so many characters with a digit among them are ids and numbers, which tell traces apart and not
kinds: all are the same word. Short ones (401k, w2, 911) are words of their own."""
_WORD, _DIGIT = 1, 2


@dataclass(frozen=True, slots=True)
class Grams:
    """Grams of one kind in a batch: the text that each stands in, and its hash; both (m,)."""

    documents: Documents
    hashes: Hashes


def words(texts: Sequence[str]) -> Grams:
    """Words and pairs of neighbouring words."""
    return _Stream(texts).words()


def characters(texts: Sequence[str]) -> Grams:
    """Character n-grams."""
    return _Stream(texts).characters()


def words_and_characters(texts: Sequence[str]) -> tuple[Grams, Grams]:
    """Both, and the texts are read once."""
    stream = _Stream(texts)
    return stream.words(), stream.characters()


class _Stream:
    """A batch of texts as one array: words apart by single spaces, texts by a newline."""

    def __init__(self, texts: Sequence[str]) -> None:
        joined = "\n".join(["", *map(_folded, texts), ""])
        points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        kind = np.where(points < _SMALL, _kinds()[np.minimum(points, _SMALL - 1)], np.uint8(_WORD))
        word, ends = kind > 0, points == _NEWLINE
        # Of what is between words one space is left.
        kept = word | _shifted(word) | ends
        points, word, ends, digit = points[kept], word[kept], ends[kept], kind[kept] == _DIGIT
        kept = _without_serials(word, digit)
        serial = ~kept | (np.append(~kept[1:], False) & word)
        points = np.where(serial, _SERIAL, points)[kept]
        self._word, ends = word[kept], ends[kept]
        self._documents = np.cumsum(ends) - 1
        wide = (points >= _WIDE_FROM) & ~((points >= _HANGUL[0]) & (points < _HANGUL[1]))
        self._alone = wide & self._word
        codes = _mixed(np.where(self._word, points, _SPACE).astype(np.uint64) + np.uint64(1))
        size = len(codes)
        self._inverse = np.cumprod(np.full(size, _INVERSE, dtype=np.uint64))
        powers = np.cumprod(np.full(size, _BASE, dtype=np.uint64))
        self._prefix = np.zeros(size + 1, dtype=np.uint64)
        np.cumsum(codes * powers, out=self._prefix[1:])

    def words(self) -> Grams:
        word, alone = self._word, self._alone
        before, alone_before = _shifted(word), _shifted(alone)
        parted = alone | alone_before
        starts = np.flatnonzero(word & (~before | parted))
        stops = np.flatnonzero(before & (~word | parted))
        hashes, documents = self._hashes(starts, stops), self._documents[starts]
        pair = documents[1:] == documents[:-1]
        pairs = _mixed(hashes[:-1][pair] * np.uint64(31) + hashes[1:][pair])
        return Grams(np.concatenate([documents, documents[1:][pair]]), np.concatenate([hashes, pairs]))

    def characters(self) -> Grams:
        spaces = np.zeros(len(self._word) + 1, dtype=np.int64)
        np.cumsum(~self._word, out=spaces[1:])
        documents, hashes = [], []
        for length in CHARACTERS:
            starts = np.arange(max(len(self._word) - length + 1, 0))
            inside = spaces[starts + length - 1] - spaces[np.minimum(starts + 1, len(spaces) - 1)]
            starts = starts[inside == 0]
            documents.append(self._documents[starts + 1])
            hashes.append(self._hashes(starts, starts + length) + np.uint64(length))
        return Grams(np.concatenate(documents), np.concatenate(hashes))

    def _hashes(self, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> Hashes:
        return _mixed((self._prefix[stops] - self._prefix[starts]) * self._inverse[starts])


def _shifted(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    shifted = np.roll(flags, 1)
    shifted[:1] = False
    return shifted


def _mixed(values: Any) -> Hashes:
    """Spreads what a polynomial leaves in some bits over all of them (the finalizer of MurmurHash3)."""
    mixed: Hashes = values ^ (values >> np.uint64(33))
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xC4CEB9FE1A85EC53)
    mixed ^= mixed >> np.uint64(33)
    return mixed


def _without_serials(word: npt.NDArray[np.bool_], digit: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """What is left when of each serial number only the first character is."""
    before = _shifted(word)
    starts, stops = np.flatnonzero(word & ~before), np.flatnonzero(before & ~word)
    digits = np.concatenate([[0], np.cumsum(digit)])
    serial = (stops - starts >= _SERIAL_LENGTH) & (digits[stops] > digits[starts])
    change = np.zeros(len(word) + 1, dtype=np.int8)
    change[starts[serial] + 1] = 1
    change[stops[serial]] = -1
    kept: npt.NDArray[np.bool_] = np.cumsum(change[:-1], dtype=np.int8) == 0
    return kept


def _folded(text: str) -> str:
    """As it is compared: compatibility form, case folded, on one line."""
    if not text.isascii():
        text = text.replace("…", " ")
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
    return text.casefold().replace("\n", " ")


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """Of each character of the basic plane: a letter or mark, a digit, or neither."""
    kinds = np.zeros(_SMALL, dtype=np.uint8)
    for point in range(_SMALL):
        category = unicodedata.category(chr(point))[0]
        kinds[point] = _DIGIT if category == "N" else _WORD if category in "LM" else 0
    return kinds
