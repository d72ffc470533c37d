"""From a weighted sample to the population: proportions, means and totals with 95 % intervals.

A sample that is the whole population has no sampling error, so every variance carries the finite population
correction 1 − n/N (Cochran, Sampling Techniques, 3rd ed., §2.6). Unequal weights count through Kish's
effective sample size (Σw)² ÷ Σw² (Kish, Survey Sampling, 1965, §11.7).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    low: float
    high: float


def effective_size(weights: Sequence[float]) -> float:
    """Kish's effective sample size; 0 for no weights."""
    squares = sum(w * w for w in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def proportion(hits: Sequence[bool], weights: Sequence[float], population: float) -> Estimate:
    """Share of the population for which `hits` is true, with Wilson's score interval.

    Wilson (1927), with the effective sample size divided by the finite population correction.
    0 with the widest interval when there is no sample.
    """
    total = sum(weights)
    if not total:
        return Estimate(0.0, 0.0, 1.0)
    p = sum(w for hit, w in zip(hits, weights, strict=True) if hit) / total
    correction = _correction(len(weights), population)
    if correction == 0.0:
        return Estimate(p, p, p)
    n = effective_size(weights) / correction
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    margin = _Z * sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n)) / (1 + _Z**2 / n)
    return Estimate(p, min(p, max(0.0, centre - margin)), max(p, min(1.0, centre + margin)))


def total(values: Sequence[float], weights: Sequence[float], population: float) -> Estimate:
    """Population total of `values` (0 for those outside the domain), normal interval, never below 0.

    The ratio estimator N · Σwy ÷ Σw (Särndal et al., Model Assisted Survey Sampling, 1992, §5.7).
    """
    sum_w = sum(weights)
    if not sum_w:
        return Estimate(0.0, 0.0, 0.0)
    mean = sum(w * y for w, y in zip(weights, values, strict=True)) / sum_w
    n = len(values)
    spread = sum(w * w * (y - mean) ** 2 for w, y in zip(weights, values, strict=True)) / sum_w**2
    variance = spread * (n / (n - 1) if n > 1 else 1.0) * _correction(n, population)
    margin = _Z * sqrt(variance)
    return Estimate(population * mean, population * max(0.0, mean - margin), population * (mean + margin))


def quantile(values: Sequence[float], weights: Sequence[float], q: float) -> float:
    """Smallest value that at least the share `q` of the weight does not exceed; 0 for no values."""
    pairs = sorted(zip(values, weights, strict=True))
    goal = q * sum(weights)
    reached = 0.0
    for value, weight in pairs:
        reached += weight
        if reached >= goal - 1e-9 * goal:
            return value
    return pairs[-1][0] if pairs else 0.0


def mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Weighted mean; 0 for no values."""
    sum_w = sum(weights)
    return sum(w * y for w, y in zip(weights, values, strict=True)) / sum_w if sum_w else 0.0


def _correction(sampled: int, population: float) -> float:
    return max(0.0, 1.0 - sampled / population) if population > 0 else 1.0
