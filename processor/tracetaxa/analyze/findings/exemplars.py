"""Which traces of a category a reader should look at: typical ones, and those at its edges."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Literal

from tracetaxa.analyze.statistics.estimate import mean, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracetaxa.analyze.results.aggregate import Labelled

TYPICAL = 3
"""Typical exemplars of a category, when there are so many different ones."""
FEWEST = 5
"""Members that a category must have before one of them is an extreme."""
_FAR = 2.0
"""Times the median, from which on the slowest and the costliest are worth a look."""

Role = Literal["typical", "slowest", "costliest", "worst feedback", "least sure"]


@dataclass(frozen=True, slots=True)
class Shown:
    """Why an exemplar is shown: its own value of a quantity, and the category's."""

    role: Role
    value: float | None = None
    """ms, US dollars, a score or a confidence, by the role."""
    usual: float | None = None
    """The category's median; of feedback its mean."""
    score: str = ""
    """Name of the feedback."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    label: Labelled
    shown: tuple[Shown, ...]


def exemplars(members: Sequence[Labelled], weights: Sequence[float]) -> tuple[Exemplar, ...]:
    """Typical ones first, each with a different request; then the extremes. A trace is there once.

    `weights`: how many of the population each member stands for.
    """
    found: dict[str, Exemplar] = {}
    pairs = list(zip(members, weights, strict=True))
    for label, shown in [*_typical(pairs), *_extremes(pairs)]:
        earlier = found.get(label.trace.row.trace_id)
        found[label.trace.row.trace_id] = Exemplar(label, (*(earlier.shown if earlier else ()), shown))
    return tuple(found.values())


_Weighted = tuple["Labelled", float]


def _median(known: Sequence[tuple[float, float]]) -> float:
    values, weights = zip(*known, strict=True)
    return quantile(values, weights, 0.5)


def _typical(members: Sequence[_Weighted]) -> list[tuple[Labelled, Shown]]:
    """Sure ones near the middle of the category in duration and tokens, those with a quote first."""
    duration = _median([(label.trace.row.duration_ms, w) for label, w in members])
    tokens = _median([(label.trace.row.input_tokens, w) for label, w in members])

    def key(label: Labelled) -> tuple[bool, float, str]:
        row = label.trace.row
        distance = abs(log((row.duration_ms + 1) / (duration + 1)))
        distance += abs(log((row.input_tokens + 1) / (tokens + 1)))
        return not label.assignment.evidence, distance + 4 * (1 - label.assignment.confidence), row.trace_id

    chosen: dict[str, Labelled] = {}
    for label in sorted((label for label, _ in members), key=key):
        chosen.setdefault(label.trace.row.input.casefold(), label)
        if len(chosen) == TYPICAL:
            break
    return [(label, Shown("typical")) for label in chosen.values()]


def _extremes(members: Sequence[_Weighted]) -> list[tuple[Labelled, Shown]]:
    if len(members) < FEWEST:
        return []
    found = [
        _largest(members, "slowest", lambda label: label.trace.row.duration_ms),
        _largest(members, "costliest", lambda label: label.trace.row.cost_usd),
        _worst_feedback(members),
        _least_sure(members),
    ]
    return [extreme for extreme in found if extreme]


def _largest(
    members: Sequence[_Weighted], role: Role, of: Callable[[Labelled], float | None]
) -> tuple[Labelled, Shown] | None:
    known = [(value, w, label) for label, w in members if (value := of(label)) is not None]
    if len(known) < FEWEST:
        return None
    usual = _median([(value, w) for value, w, _ in known])
    value, _, label = max(known, key=lambda each: (each[0], each[2].trace.row.trace_id))
    return (label, Shown(role, value, usual)) if value > _FAR * usual > 0 else None


def _worst_feedback(members: Sequence[_Weighted]) -> tuple[Labelled, Shown] | None:
    """By the score that most members have: scales differ from score to score."""
    counts = Counter(name for label, _ in members for name in label.trace.row.feedback)
    if not counts:
        return None
    name = min(counts, key=lambda score: (-counts[score], score))
    scored = [(of[name], w, label) for label, w in members if name in (of := label.trace.row.feedback)]
    usual = mean([value for value, _, _ in scored], [w for _, w, _ in scored])
    value, _, label = min(scored, key=lambda each: (each[0], each[2].trace.row.trace_id))
    return (label, Shown("worst feedback", value, usual, name)) if value < usual else None


def _least_sure(members: Sequence[_Weighted]) -> tuple[Labelled, Shown] | None:
    usual = _median([(label.assignment.confidence, w) for label, w in members])
    label = min(
        (label for label, _ in members), key=lambda m: (m.assignment.confidence, m.trace.row.trace_id)
    )
    value = label.assignment.confidence
    return (label, Shown("least sure", value, usual)) if value < usual else None
