"""From a labelled sample and predictions for other units to the population: prediction-powered inference.

A classifier that learned from the sample's labels predicts the label of units that nobody read. Counting its
predictions would count its mistakes too. So they only help: with y the labels of the sample, f the
predictions for the same units and g those for the others,

    estimate = mean(y) − λ (mean(f) − mean(g)),

whose middle part is zero on average however wrong the predictions are (Angelopoulos et al., Science 2023). λ
is what makes the estimate most precise, between 0 (the sample alone) and about 1: PPI++ (Angelopoulos, Duchi
and Zrnic 2023). f must come from classifiers that did not learn from the unit, and g be the mean of the same
classifiers' predictions: cross-prediction (Zrnic and Candès, PNAS 2024), which is what makes mean(f) and
mean(g) the same but for chance although the sample trains the classifier.

Here the sample is stratified and the population finite: the estimate is made in each stratum and weighted by
its size W; n units of a stratum of N are labelled, M others predicted. From simple random sampling without
replacement (Cochran, Sampling Techniques, 3rd ed., §2.5 and §7.3; disjoint samples have the covariance −S²/N)

    variance = Σ W² (S²y (1/n − 1/N) − 2 λ Syf / n + λ² (S²f / n + S²g / M)).

One λ serves all categories: what is predicted more of one is predicted less of another, so shares still add
up to one, and rare categories have no λ that is made of a handful of units.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from tracetaxa.analyze.statistics.estimate import Estimate, Z, wilson

Values = Mapping[int, float]
"""Number of a unit → its value, where that is not 0."""

_DOUBT = 0.3
"""Of a unit that was taken for a member and is none, and of one that is a member and was not taken for one,
added where the spread of shares is judged: predictions that were always right in a small sample are not known
to be. Simulated in the tests; it is what estimate.py adds for the same reason."""


@dataclass(frozen=True, slots=True)
class Variable:
    """Something that the units have, or have not: for a share 1 for members."""

    labels: Values
    """Of labelled units, as they were labelled."""
    predictions: Values
    """Of labelled units, as classifiers predict that did not learn from them."""
    others: Values
    """Of the units that are only predicted, the mean over the same classifiers."""

    def minus(self, factor: float, other: Variable) -> Variable:
        """This less so many times another, unit by unit."""
        return Variable(
            _minus(self.labels, factor, other.labels),
            _minus(self.predictions, factor, other.predictions),
            _minus(self.others, factor, other.others),
        )


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of one stratum: n labelled and m predicted units, their means and (co)variances."""

    n: int
    m: int
    mean_y: float
    mean_f: float
    mean_g: float
    yy: float
    yf: float
    ff: float
    gg: float


class PoweredDesign:
    """How labelled units and those that are only predicted stand for the population.

    Strata without labelled units stand behind the others, as in estimate.Design. A stratum without units that
    are only predicted (it was read whole) is estimated from its labels.
    """

    def __init__(self, labelled: Sequence[str], others: Sequence[str], sizes: Mapping[str, float]) -> None:
        """Stratum of each labelled unit and of each that is only predicted; population of each stratum.

        Raises ValueError without labelled units.
        """
        if not labelled:
            raise ValueError("nothing was labelled")
        self._labelled, self._others = labelled, others
        self._n, self._m = Counter(labelled), Counter(others)
        self._sizes = {name: max(float(sizes[name]), self._n[name]) for name in self._n}
        self.population = max(float(sum(sizes.values())), len(labelled))
        whole = sum(self._sizes.values())
        self._weights = {name: size / whole for name, size in self._sizes.items()}

    @property
    def correction(self) -> float:
        """The finite population correction of the whole; 0 when every unit was labelled."""
        return max(0.0, 1.0 - len(self._labelled) / self.population)

    def power(self, variables: Iterable[Variable]) -> float:
        """λ: the one that makes the variances of these together as small as they can be, in [0, 1]."""
        covariance = spread = 0.0
        for variable in variables:
            for name, of in self._moments(variable).items():
                if of.m:
                    weight = self._weights[name] ** 2
                    covariance += weight * of.yf / of.n
                    spread += weight * (of.ff / of.n + of.gg / of.m)
        return min(1.0, max(0.0, covariance / spread)) if spread else 0.0

    def share(self, variable: Variable, power: float) -> Estimate:
        """Share of the population that has it, for values 0 and 1: Wilson's interval with the effective size
        p (1 − p) ÷ variance, as estimate.proportion has it."""
        p = min(1.0, max(0.0, self._mean(self._moments(variable), power)))
        return self._rate(p, self._variance(self._moments(variable, _DOUBT), power))

    def total(self, variable: Variable, power: float) -> Estimate:
        """Population total of values that are at least 0, with a normal interval, never below 0."""
        moments = self._moments(variable)
        value = max(0.0, self._mean(moments, power)) * self.population
        margin = Z * sqrt(self._variance(moments, power)) * self.population
        return Estimate(value, max(0.0, value - margin), value + margin)

    def ratio(self, part: Variable, whole: Variable, power: float) -> Estimate:
        """Of what is in `whole` (0 and 1), the share that is also in `part`: linearised, with Wilson's
        interval.

        0 with the widest interval when `whole` is estimated to be empty.
        """
        base = self._mean(self._moments(whole), power)
        if base <= 0:
            return Estimate(0.0, 0.0, 1.0)
        p = min(1.0, max(0.0, self._mean(self._moments(part), power) / base))
        variance = self._variance(self._moments(part.minus(p, whole)), power) / base**2
        if variance <= 0 or not 0 < p < 1:  # nothing varies: as sure as so many labels make it
            members = len(whole.labels)
            if members and self.correction:
                return wilson(p, members / self.correction)
            return Estimate(p, p, p) if members else Estimate(p, 0.0, 1.0)
        return self._rate(p, variance)

    def _rate(self, p: float, variance: float) -> Estimate:
        if not self.correction:
            return Estimate(p, p, p)
        if variance > 0 and 0 < p < 1:
            return wilson(p, p * (1 - p) / variance)
        return wilson(p, len(self._labelled) / self.correction)

    def _mean(self, moments: Mapping[str, _Moments], power: float) -> float:
        return sum(
            self._weights[name] * (of.mean_y - (power * (of.mean_f - of.mean_g) if of.m else 0.0))
            for name, of in moments.items()
        )

    def _variance(self, moments: Mapping[str, _Moments], power: float) -> float:
        """Of the mean."""
        variance = 0.0
        for name, of in moments.items():
            part = of.yy * max(0.0, 1 / of.n - 1 / self._sizes[name])
            if of.m:
                part += power**2 * (of.ff / of.n + of.gg / of.m) - 2 * power * of.yf / of.n
            variance += self._weights[name] ** 2 * max(0.0, part)
        return variance

    def _moments(self, variable: Variable, doubt: float = 0.0) -> dict[str, _Moments]:
        y, yy = _sums(variable.labels, self._labelled)
        f, ff = _sums(variable.predictions, self._labelled)
        g, gg = _sums(variable.others, self._others)
        yf: dict[str, float] = defaultdict(float)
        for unit, value in variable.labels.items():
            yf[self._labelled[unit]] += value * variable.predictions.get(unit, 0.0)
        found = {}
        for name, n in self._n.items():
            m, units = self._m[name], n + 2 * doubt
            # With the two units of doubt, (1, 0) and (0, 1); a single unit says nothing of the spread.
            small = n / (n - 1) if n > 1 else 2.0
            mean_y, mean_f = (y[name] + doubt) / units, (f[name] + doubt) / units
            found[name] = _Moments(
                n=n,
                m=m,
                mean_y=y[name] / n,
                mean_f=f[name] / n,
                mean_g=g[name] / m if m else 0.0,
                yy=small * max(0.0, (yy[name] + doubt) / units - mean_y**2),
                yf=small * (yf[name] / units - mean_y * mean_f),
                ff=small * max(0.0, (ff[name] + doubt) / units - mean_f**2),
                gg=max(0.0, gg[name] / m - (g[name] / m) ** 2) if m else 0.0,
            )
        return found


def _sums(values: Values, strata: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Sums and sums of squares by stratum."""
    sums: dict[str, float] = defaultdict(float)
    squares: dict[str, float] = defaultdict(float)
    for unit, value in values.items():
        sums[strata[unit]] += value
        squares[strata[unit]] += value * value
    return sums, squares


def _minus(values: Values, factor: float, others: Values) -> Values:
    units = values.keys() | others.keys()
    return {unit: values.get(unit, 0.0) - factor * others.get(unit, 0.0) for unit in sorted(units)}
