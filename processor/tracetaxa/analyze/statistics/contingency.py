"""Whether two things that a unit has or has not are independent: a 2×2 table from a stratified sample.

Each is tested in whatever made the window, not only in the window: without the finite population correction
(Cochran, Sampling Techniques, 3rd ed., §2.14), so that a window that was read whole still has to show more
than chance. The weighted table is scaled to its effective size, the design effect taken out (Rao and Scott,
JASA 1981; Annals of Statistics 1984), and tested with Fisher's exact test, since the tails decide when much
is tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, lgamma, log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracetaxa.analyze.statistics.estimate import Design

LEAST_GROUP = 20
"""Units that must have a trait, and must not have it, before anything is tested with it."""
LEAST_OUTCOME = 10
"""Units that must have an outcome, and must not."""
LEAST_EXPECTED = 5.0
"""Of them with the trait if the two were independent. All three limits look at margins only, so they take
nothing away from the level of the tests (Bourgon, Gentleman and Huber, PNAS 2010)."""
_SHRINK = 0.3
"""As in estimate.py: a stratum that shows none is not known to hold none."""
_NEGLIGIBLE = 1e-12


def mask(flags: Iterable[bool]) -> int:
    """Flags of units in the order of the design → their bits."""
    return int("".join("1" if flag else "0" for flag in flags)[::-1] or "0", 2)


@dataclass(frozen=True, slots=True)
class Stratum:
    units: int
    """Bits of its units."""
    drawn: int
    weight: float
    """Share of the population that each of its units stands for."""


def strata_of(design: Design) -> list[Stratum]:
    """In no order that matters."""
    weights = dict(zip(design.strata, design.weights, strict=True))
    whole = sum(design.weights)
    return [
        Stratum(mask(s == name for s in design.strata), drawn, weights[name] / whole)
        for name, drawn in design.counts.items()
    ]


@dataclass(frozen=True, slots=True)
class _Cells:
    """Units of one stratum: all, with the trait, with the outcome, with both; and the weight of one."""

    n: int
    x: int
    y: int
    both: int
    weight: float


@dataclass(frozen=True, slots=True)
class Table:
    """`px`, `py` and `pxy`: estimated shares of the population with the trait, the outcome, both."""

    cells: tuple[_Cells, ...]
    px: float
    py: float
    pxy: float

    @classmethod
    def of(cls, x: int, y: int, strata: Sequence[Stratum]) -> Table:
        cells = tuple(
            _Cells(
                s.drawn,
                (s.units & x).bit_count(),
                (s.units & y).bit_count(),
                (s.units & x & y).bit_count(),
                s.weight,
            )
            for s in strata
        )
        px, py, pxy = (
            sum(c.weight * count for c, count in zip(cells, counts, strict=True))
            for counts in ([c.x for c in cells], [c.y for c in cells], [c.both for c in cells])
        )
        return cls(cells, px, py, pxy)

    def is_enough(self) -> bool:
        n = sum(c.n for c in self.cells)
        x = sum(c.x for c in self.cells)
        y = sum(c.y for c in self.cells)
        return (
            min(x, n - x) >= LEAST_GROUP
            and min(y, n - y) >= LEAST_OUTCOME
            and min(x, n - x) * min(y, n - y) >= LEAST_EXPECTED * n
        )

    def effective_size(self) -> float:
        """Units of a simple random sample that would tell as much of whether the two are independent."""
        if len(self.cells) == 1:
            return self.cells[0].n
        variance = 0.0
        for c in self.cells:
            x = (c.x + _SHRINK) / (c.n + 2 * _SHRINK)
            y = (c.y + _SHRINK) / (c.n + 2 * _SHRINK)
            # Of the residual (x - px)(y - py), the two being independent within the stratum.
            squares = (x * (1 - x) + (x - self.px) ** 2) * (y * (1 - y) + (y - self.py) ** 2)
            spread = squares - ((x - self.px) * (y - self.py)) ** 2
            variance += (c.weight * c.n) ** 2 * spread / max(1, c.n - 1)
        simple = self.px * (1 - self.px) * self.py * (1 - self.py)
        return simple / variance if variance > 0 else 0.0

    def p(self) -> float:
        """Two-sided p-value of independence."""
        n = round(self.effective_size())
        x, y = round(n * self.px), round(n * self.py)
        both = n * self.pxy
        # Whole numbers on the careful side.
        both = int(both + 1e-9) if both > x * y / max(n, 1) else -int(-both + 1e-9)
        return fisher(n, x, y, min(max(both, x + y - n, 0), x, y))

    def log_ratio(self) -> tuple[float, float]:
        """Of the rate with the trait to that without it, and its standard error by linearisation.

        Where one of the rates is 0, half a unit is added to each cell (Haldane 1956).
        """
        unit = sum(c.weight * c.n for c in self.cells) / sum(c.n for c in self.cells)
        add = 0.5 * unit if min(self.pxy, self.py - self.pxy) < 1e-9 else 0.0
        hits, others = self.pxy + add, self.py - self.pxy + add
        with_, without = self.px + 2 * add, 1 - self.px + 2 * add
        rate, rest = hits / with_, others / without
        variance = 0.0
        for c in self.cells:
            n = c.n + 4 * add / unit
            counts = (
                (c.both + add / unit, (1 - rate) / hits),
                (c.x - c.both + add / unit, -rate / hits),
                (c.y - c.both + add / unit, -(1 - rest) / others),
                (c.n - c.x - c.y + c.both + add / unit, rest / others),
            )
            mean = sum(count * z for count, z in counts) / n
            spread = sum(count * (z - mean) ** 2 for count, z in counts) / max(1.0, n - 1)
            variance += (c.weight * c.n) ** 2 * spread / c.n
        return log(rate / rest), sqrt(variance)


def fisher(n: int, x: int, y: int, both: int) -> float:
    """Two-sided p-value of a 2×2 table by the hypergeometric distribution: twice the smaller tail.

    `both` of `x` and of `y` among `n`. 1 for a table without any freedom.
    """
    low, high = max(0, x + y - n), min(x, y)
    if low >= high:
        return 1.0
    start = (
        _log_choose(y, both) + _log_choose(n - y, x - both) - _log_choose(n, x)
        if low <= both <= high
        else -inf
    )
    step = 1 if both * n > x * y else -1
    term = tail = exp(start)
    k = both
    while (low < k if step < 0 else k < high) and term > _NEGLIGIBLE * tail:
        if step > 0:
            term *= (x - k) * (y - k) / ((k + 1) * (n - x - y + k + 1))
        else:
            term *= k * (n - x - y + k) / ((x - k + 1) * (y - k + 1))
        k += step
        tail += term
    return min(1.0, 2 * tail)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
