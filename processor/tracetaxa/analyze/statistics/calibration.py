"""From the confidence that a model states to the chance that its label is right.

A second reading of the same traces shows how often both readings agree, which is not how often the first one
is right: two wrong readings can agree, and a right one is contradicted by a wrong one. Of one trace, with
errors that are independent of each other,

    P(agree) = q₁ q₂ + (1 − q₁)(1 − q₂) r,

the model of two annotators of Dawid and Skene (Applied Statistics 1979) with one parameter each; r is the
chance that two wrong readings say the same, 1 ÷ (k − 1) with k labels of the same size. The chance q of being
right follows the stated confidence c as in Platt's scaling (1999), on its log-odds:

    logit q = α + β (logit c − mean of logit c) + u,    β ≥ 0.

u is what makes a trace easier or harder than others of its stated confidence, for both readings alike:
without it, their agreement would be taken for more than it says. Its spread can't be learnt from two readings
and is assumed.

α and β are not set to their likeliest values: what is told is the mean of q over their posterior, so that few
audited traces move confidences little and towards each other. The posterior is summed on a grid, hence
deterministic.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import exp, fsum, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LEAST, _MOST = 0.02, 0.98
"""Stated confidences are taken for no less and no more than these: nobody is that sure."""
_STEPS = 100
"""Stated confidences are told apart to 1 ÷ this."""

_ALPHA_MEAN, _ALPHA_SPREAD = 1.4, 1.5
"""Before any audit: labels are right in about 80 %, and anything from 20 to 99 % is no surprise."""
_BETA_MEAN, _BETA_SPREAD = 0.5, 0.5
"""Before any audit: models exaggerate the differences between their confidences."""
_HARDNESS = 0.5
"""Standard deviation of u."""
_NODES = ((-(3**0.5) * _HARDNESS, 1 / 6), (0.0, 2 / 3), (3**0.5 * _HARDNESS, 1 / 6))
"""(u, weight): means over normal u by the Gauss-Hermite rule of three nodes."""
_ALPHAS = tuple(-2.0 + i * 0.125 for i in range(61))
_BETAS = tuple(i * 0.125 for i in range(17))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one trace: the confidence that each reading stated, and whether both gave the same label."""

    first: float
    second: float
    agreed: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """Stated confidence → chance that the label is right; increasing, within (0, 1)."""

    centre: float
    weights: tuple[tuple[float, float, float], ...]
    """(α, β, posterior probability), those that matter."""

    def __call__(self, stated: float) -> float:
        x = _logit(stated) - self.centre
        return sum(
            weight * part * _sigmoid(a + b * x + u) for a, b, weight in self.weights for u, part in _NODES
        )


def wrong_alike(labels: Mapping[str, int]) -> float:
    """Chance that two wrong readings of a trace say the same, when errors are spread like the labels are.

    `labels` are the label frequencies. 1 when there are no two labels.
    """
    n = sum(labels.values())
    shares = [count / n for count in labels.values() if count]
    if len(shares) < 2:
        return 1.0
    squares = fsum(share**2 for share in shares)
    return fsum(share * (squares - share**2) / (1 - share) ** 2 for share in shares)


def calibrate(outcomes: Sequence[Outcome], by_chance: float) -> Calibration:
    """What `outcomes` teach; `by_chance`: of two wrong readings, how many say the same (`wrong_alike`).

    Raises ValueError for no outcomes.
    """
    if not outcomes:
        raise ValueError("nothing was read twice")
    stated = [_logit(_rounded(c)) for outcome in outcomes for c in (outcome.first, outcome.second)]
    centre = sum(stated) / len(stated)
    seen = Counter(
        (*sorted((_rounded(outcome.first), _rounded(outcome.second))), outcome.agreed) for outcome in outcomes
    )
    levels = {c: _logit(c) - centre for first, second, _ in seen for c in (first, second)}
    parts = [part for _, part in _NODES]
    logs = []
    for a in _ALPHAS:
        for b in _BETAS:
            right = {c: [_sigmoid(a + b * x + u) for u, _ in _NODES] for c, x in levels.items()}
            total = -(((a - _ALPHA_MEAN) / _ALPHA_SPREAD) ** 2 + ((b - _BETA_MEAN) / _BETA_SPREAD) ** 2) / 2
            for (first, second, agreed), times in seen.items():
                agree = 0.0
                for p, q, part in zip(right[first], right[second], parts, strict=True):
                    agree += part * (p * q + (1 - p) * (1 - q) * by_chance)
                total += times * log(max(agree if agreed else 1 - agree, 1e-12))
            logs.append((a, b, total))
    highest = max(total for _, _, total in logs)
    likely = [(a, b, exp(total - highest)) for a, b, total in logs if total > highest - 10]
    whole = sum(weight for _, _, weight in likely)
    return Calibration(centre, tuple((a, b, weight / whole) for a, b, weight in likely))


def _rounded(confidence: float) -> float:
    return min(max(round(confidence * _STEPS) / _STEPS, _LEAST), _MOST)


def _logit(p: float) -> float:
    p = min(max(p, _LEAST), _MOST)
    return log(p / (1 - p))


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))
