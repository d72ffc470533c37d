"""How far two labellings of the same traces say the same, where both choose from the same labels.

`pairs` holds (first label, second label) of each trace that got both. Cohen, Educational and Psychological
Measurement 1960; Krippendorff, Content Analysis, 4th ed., chapter 12; Wilson, JASA 1927.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two labellings of `compared` traces, which `agreed` on so many of them."""

    compared: int
    agreed: int
    share: float
    share_low: float
    """95 % interval of the share (Wilson's score interval), for traces like these."""
    share_high: float
    kappa: float | None
    """None where chance alone makes both say the same: there is one label only."""
    alpha: float | None


def agreement(pairs: Sequence[tuple[str, str]]) -> Agreement | None:
    """None for no pairs."""
    if not pairs:
        return None
    agreed = sum(first == second for first, second in pairs)
    low, high = wilson(agreed, len(pairs))
    return Agreement(
        len(pairs), agreed, agreed / len(pairs), low, high, cohen_kappa(pairs), krippendorff_alpha(pairs)
    )


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """(observed − expected) ÷ (1 − expected) agreement, with each labelling's own label frequencies."""
    n = len(pairs)
    if not n:
        return None
    observed = sum(first == second for first, second in pairs) / n
    ours, theirs = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    expected = sum(count * theirs[label] for label, count in ours.items()) / n**2
    return (observed - expected) / (1 - expected) if expected < 1 else None


def krippendorff_alpha(pairs: Sequence[tuple[str, str]]) -> float | None:
    """1 − observed ÷ expected disagreement, nominal labels; like kappa, corrected for few traces."""
    values = Counter(label for pair in pairs for label in pair)
    n = values.total()
    expected = n * n - sum(count * count for count in values.values())
    if not expected:
        return None
    disagreed = sum(first != second for first, second in pairs)
    return 1 - 2 * disagreed * (n - 1) / expected


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion; (0, 1) for n = 0."""
    if not n:
        return 0.0, 1.0
    p = hits / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    margin = _Z * sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n)) / (1 + _Z**2 / n)
    return min(p, max(0.0, centre - margin)), max(p, min(1.0, centre + margin))
