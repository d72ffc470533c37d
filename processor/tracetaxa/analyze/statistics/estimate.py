"""From a sample to the population: proportions, means and totals with 95 % intervals.

The sample is stratified: of each stratum so many units were drawn at random without replacement (a uniform
sample has one stratum). The variances are those of the stratified estimators (Cochran, Sampling Techniques,
3rd ed., §5.6, and §5A.14 for domains), with the finite population correction 1 − n/N, so that a stratum that
was read whole has no sampling error.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import fsum, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
"""Standard errors on each side of an estimate."""
_SHRINK = 0.3
"""Of an observation, added to both sides where the spread within a stratum is judged: a stratum in which none
was found is not known to hold none. With less, intervals of kinds that hide in a thinly sampled stratum cover
too rarely; with more, all get wider (simulated in the tests)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Design:
    """How the units of a sample stand for the population.

    Strata of which no unit is here stand behind the others: what is known of those is said of them too.
    """

    strata: tuple[str, ...]
    """The stratum of each unit."""
    sizes: Mapping[str, float]
    """Population of each stratum."""
    counts: Counter[str] = field(init=False)
    weights: tuple[float, ...] = field(init=False)
    """Units of the population that each one stands for; they add up to the population."""

    def __post_init__(self) -> None:
        counts = Counter(self.strata)
        seen = sum(self.sizes[name] for name in counts)
        scale = sum(self.sizes.values()) / seen if seen else 0.0
        object.__setattr__(self, "counts", counts)
        weights = (self.sizes[name] / counts[name] * scale for name in self.strata)
        object.__setattr__(self, "weights", tuple(weights))

    @classmethod
    def uniform(cls, sampled: int, population: float) -> Design:
        return cls(("",) * sampled, {"": population})

    @property
    def population(self) -> float:
        return sum(self.sizes.values())

    def only(self, inside: Sequence[bool]) -> tuple[float, ...]:
        """Weights of the units inside."""
        return tuple(w for w, is_in in zip(self.weights, inside, strict=True) if is_in)


def effective_size(weights: Sequence[float]) -> float:
    """Kish's effective sample size (Σw)² ÷ Σw² (Survey Sampling, 1965, §11.7); 0 for no weights."""
    squares = sum(w * w for w in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def proportion(hits: Sequence[bool], design: Design, inside: Sequence[bool] | None = None) -> Estimate:
    """Share of the population, or of the part of it that is `inside`, for which `hits` is true.

    Wilson's score interval (1927) with the effective sample size p(1 − p) ÷ variance, as for surveys (Korn
    and Graubard, Survey Methodology 1998; Dean and Pagano, Biometrical Journal 2015). 0 with the widest
    interval when there is no sample.
    """
    weights = design.weights
    inside = [True] * len(weights) if inside is None else inside
    whole = fsum(design.only(inside))
    if not whole:
        return Estimate(0.0, 0.0, 1.0)
    p = fsum(w for w, hit, is_in in zip(weights, hits, inside, strict=True) if hit and is_in) / whole
    residuals = [(float(hit) - p if is_in else 0.0) for hit, is_in in zip(hits, inside, strict=True)]
    if all(inside):
        variance = _variance_of_share(hits, design)
    else:
        variance = _variance_of_total(residuals, design) / whole**2
    if not _correction(design):
        return Estimate(p, p, p)
    n = p * (1 - p) / variance if variance > 0 and 0 < p < 1 else 0.0
    if not n:
        # Nothing varies in the sample: as many units as the unequal weights leave.
        n = effective_size(design.only(inside)) / _correction(design)
    return wilson(p, n)


def width_at(hits: Sequence[bool], design: Design, counts: Mapping[str, float]) -> float:
    """How wide the interval of this share would be with other numbers of units in each stratum, `counts`, if
    what is in the strata were as in this sample; 0 when all units would be read."""
    if sum(counts.values()) >= design.population or not design.weights:
        return 0.0
    p = fsum(w for w, hit in zip(design.weights, hits, strict=True) if hit) / fsum(design.weights)
    variance = _variance_of_share(hits, design, counts)
    if variance <= 0 or not 0 < p < 1:
        return 0.0
    expected = wilson(p, p * (1 - p) / variance)
    return expected.high - expected.low


def wilson(p: float, n: float) -> Estimate:
    """Wilson's interval about a share that is as sure as `n` independent units make it."""
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    margin = Z * sqrt(p * (1 - p) / n + Z**2 / (4 * n * n)) / (1 + Z**2 / n)
    return Estimate(p, min(p, max(0.0, centre - margin)), max(p, min(1.0, centre + margin)))


def total(values: Sequence[float], design: Design) -> Estimate:
    """Population total of `values` (0 for those outside the domain), normal interval, never below 0."""
    if not design.weights:
        return Estimate(0.0, 0.0, 0.0)
    value = sum(w * y for w, y in zip(design.weights, values, strict=True))
    margin = Z * sqrt(_variance_of_total(values, design))
    return Estimate(value, max(0.0, value - margin), value + margin)


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


def _variance_of_share(
    hits: Sequence[bool], design: Design, counts: Mapping[str, float] | None = None
) -> float:
    """With as many units of each stratum as there are, or as `counts` says."""
    found: Counter[str] = Counter()
    for name, hit in zip(design.strata, hits, strict=True):
        found[name] += hit
    variance = 0.0
    for name, n in design.counts.items():
        p = (found[name] + _SHRINK) / (n + 2 * _SHRINK)
        spread = p * (1 - p) * (n / (n - 1) if n > 1 else 2.0)
        variance += _stratum(design, name, spread, n if counts is None else counts[name])
    return variance / design.population**2


def _variance_of_total(values: Sequence[float], design: Design) -> float:
    groups: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(design.strata, values, strict=True):
        groups[name].append(value)
    overall = _spread(list(values))
    # A single unit says nothing of its stratum's spread; it is taken for like that of the whole.
    return sum(
        _stratum(design, name, _spread(group) if len(group) > 1 else overall, len(group))
        for name, group in groups.items()
    )


def _stratum(design: Design, name: str, spread: float, n: float) -> float:
    """What a stratum of which `n` units are read adds to the variance of a total."""
    size = design.sizes[name]
    scale = design.population / sum(design.sizes[known] for known in design.counts)
    return (size * scale) ** 2 * max(0.0, 1 - n / size) * spread / n if size else 0.0


def _spread(values: Sequence[float]) -> float:
    n = len(values)
    if n < 2:
        return 0.0
    middle = sum(values) / n
    return sum((value - middle) ** 2 for value in values) / (n - 1)


def _correction(design: Design) -> float:
    """The finite population correction of the whole; 0 when every unit was read."""
    return max(0.0, 1.0 - len(design.strata) / design.population) if design.population > 0 else 1.0
