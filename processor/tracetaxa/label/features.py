"""What a classifier sees of a trace: n-grams of its digest by kind of line, and what is known about it.

Five groups of features, which a classifier weighs against each other: words and characters of what the user
said, words of what the agent said, words of tool calls and errors, and facts (tools, status, sizes, names).
Model names, numbers and attributes are left out: they change with releases, and kinds should not.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tracetaxa.label.ngrams import words, words_and_characters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.records import TraceRow

FEATURE_VERSION = 1
"""Changes whenever the same trace would get other features: an older classifier is then of no use."""

GROUPS = ("request words", "request characters", "answer words", "action words", "facts")
FACTS = GROUPS.index("facts")
VIEWS = ("request", "outcome")
"""Texts that are embedded, where there is an embedder."""

BUCKET_BITS = 20
"""Grams of a group share 2²⁰ buckets: of 20,000 that matter two in a hundred meet another."""
KEYS = len(GROUPS) << BUCKET_BITS
"""Features are numbers below: group, then bucket."""

REQUEST_CHARACTERS = 400
OUTCOME_CHARACTERS = 300
"""How much of a view is embedded: more costs time and blurs the vector."""
_MOST_CHARACTERS = 4000
"""Of each group of lines; digests are shorter unless somebody configured otherwise."""
_MOST_TIMES = 255
_DAMPED = np.array([0, *(1 + np.log(np.arange(1, _MOST_TIMES + 1)))], dtype=np.float32)
"""What a feature counts that comes so many times."""
_LEAST_WEIGHT = 1e-6
"""Of what counts at all: no feature of fewer than a million labelled traces has less, unless it has none."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The texts of one trace."""

    request: str
    answer: str
    action: str
    outcome: str
    facts: tuple[str, ...]


def parts_of(row: TraceRow) -> Parts:
    said: dict[str, list[str]] = {"user": [], "assistant": [], "tool": [], "error": []}
    for kind, text in zip(row.digest_kinds, row.digest_texts, strict=True):
        if kind in said:
            said[kind].append(text)
    outcome = said["assistant"][-1:] + said["error"][-1:]
    return Parts(
        request=_joined(said["user"]),
        answer=_joined(said["assistant"]),
        action=_joined(said["tool"] + said["error"]),
        outcome=" ".join(outcome)[:OUTCOME_CHARACTERS],
        facts=_facts(row),
    )


def _joined(texts: Sequence[str]) -> str:
    return " \x1f ".join(texts)[:_MOST_CHARACTERS]


def _facts(row: TraceRow) -> tuple[str, ...]:
    return (
        *(f"tool {tool}" for tool in row.tools),
        f"failed after {row.last_tool_before_error}",
        f"status {row.status}",
        f"errors {_size(row.error_count)}",
        f"model calls {_size(row.llm_calls)}",
        f"tool calls {_size(row.tool_calls)}",
        f"spans {_size(row.span_count)}",
        f"seconds {_size(int(row.duration_ms / 1000))}",
        f"service {row.service_name}",
        f"name {row.root_name}",
        *(f"feedback {name} {score:.1g}" for name, score in sorted(row.feedback.items())),
    )


def _size(number: int) -> int:
    """0, 1, 2 to 3, 4 to 7, and so on."""
    return max(number, 0).bit_length()


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each feature stands in each trace of a batch: parallel arrays (m,), by trace and feature."""

    traces: int
    rows: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    times: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, parts: Sequence[Parts]) -> Counts:
        request = words_and_characters([part.request for part in parts])
        answer, action = words([part.answer for part in parts]), words([part.action for part in parts])
        found = []
        for group, grams in enumerate((*request, answer, action)):
            bucket = (grams.hashes >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
            found.append(grams.documents * KEYS + (group << BUCKET_BITS) + bucket)
        found.append(_fact_codes(parts))
        codes, times = np.unique(np.concatenate(found), return_counts=True)
        rows, keys = np.divmod(codes, KEYS)
        return cls(len(parts), rows, keys, np.minimum(times, _MOST_TIMES).astype(np.uint8))

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """Of each feature, (m,)."""
        return self.keys >> BUCKET_BITS


def _fact_codes(parts: Sequence[Parts]) -> npt.NDArray[np.int64]:
    low = (1 << BUCKET_BITS) - 1
    return np.array(
        [
            row * KEYS + (FACTS << BUCKET_BITS) + (zlib.crc32(fact.encode("utf-8", "surrogatepass")) & low)
            for row, part in enumerate(parts)
            for fact in part.facts
        ],
        dtype=np.int64,
    )


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The features that labelled traces have, and how telling each is."""

    keys: npt.NDArray[np.uint32]
    """(f,), ascending."""
    weights: npt.NDArray[np.float32]
    """(f,): log of the inverse document frequency; of a fact 1, and 0 where it is always so."""
    unseen: float
    """Weight of a feature that no labelled trace has."""

    @classmethod
    def learn(cls, counts: Counts, *, most: int) -> Lexicon:
        """The `most` frequent features of labelled traces."""
        keys, found = np.unique(counts.keys, return_counts=True)
        kept = np.sort(np.argsort(-found, kind="stable")[:most])
        keys, found = keys[kept], found[kept]
        n = counts.traces
        weights = np.log((1 + n) / (1 + found))
        facts = keys >> BUCKET_BITS == FACTS
        weights[facts] = found[facts] < n
        return cls(keys.astype(np.uint32), weights.astype(np.float32), float(np.log(1 + n)))

    def table(self) -> npt.NDArray[np.int32]:
        """Place of each possible feature, or -1: (KEYS,)."""
        table = np.full(KEYS, -1, dtype=np.int32)
        table[self.keys] = np.arange(len(self.keys), dtype=np.int32)
        return table


def vectors(
    counts: Counts, lexicon: Lexicon, table: npt.NDArray[np.int32]
) -> tuple[sparse.csr_array, npt.NDArray[np.bool_]]:
    """Vectors of shape (traces, f), and which of its groups each trace has, (traces, groups).

    A group's vector has length 1 with the features that nobody knows: the less is known, the shorter it is.
    """
    place = table[counts.keys]
    known = place >= 0
    weight = np.append(lexicon.weights, np.float32(lexicon.unseen))[place]
    values = _DAMPED[counts.times] * weight
    cell = counts.rows * len(GROUPS) + counts.groups
    lengths = np.sqrt(np.bincount(cell, values**2, counts.traces * len(GROUPS)))
    used = known & (weight > _LEAST_WEIGHT)
    data = values[used] / lengths.astype(np.float32)[cell[used]]
    starts = np.zeros(counts.traces + 1, dtype=np.int32)
    np.cumsum(np.bincount(counts.rows[used], minlength=counts.traces), out=starts[1:])
    shape = (counts.traces, len(lexicon.keys))
    present = (lengths > 0).reshape(counts.traces, len(GROUPS))
    return sparse.csr_array((data, place[used], starts), shape=shape), present
