"""What goes together: outcomes (a category, an error, a long wait) that are more or less frequent among units
with some trait (a release, a tool, a long request) than among the others.

Units are bits of an integer, so that counting a stratum's cell of a 2×2 table is one `&`; contingency.py
tests one table. Benjamini and Hochberg's procedure (JRSS B 1995) holds the false discovery rate over all that
was tested, and intervals of what passed are at the level that makes up for having been picked (Benjamini and
Yekutieli, JASA 2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from tracetaxa.analyze.statistics.contingency import Table, strata_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.analyze.statistics.estimate import Design

FALSE_DISCOVERY_RATE = 0.05
"""Share of what is found that may be chance."""
_NORMAL = NormalDist()

TraitKind = Literal["attribute", "tool", "model", "service", "extracted", "request"]
OutcomeKind = Literal["errors", "calls", "latency", "category"]


@dataclass(frozen=True, slots=True)
class Trait:
    """Something that a unit has or has not; `members` has the bit of each unit that has it."""

    kind: TraitKind
    name: str
    value: str
    members: int
    ladder: str = ""
    """Of traits that differ in a limit only, such as lengths, the clearest one is told."""


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: OutcomeKind
    members: int
    category_id: str = ""
    above_ms: float = 0.0
    """What a long wait is."""


@dataclass(frozen=True, slots=True)
class Association:
    """One pair that passed. Rates are estimates for the population."""

    outcome: Outcome
    trait: Trait
    sampled: int
    """Units of the sample that have the trait."""
    rate_with: float
    rate_without: float
    ratio: float
    low: float
    high: float
    p: float
    q: float
    """The false discovery rate at which it would just pass."""


@dataclass(frozen=True, slots=True)
class Associations:
    tested: int
    found: tuple[Association, ...]
    """All that passed, the clearest first."""


def associations(
    traits: Sequence[Trait], outcomes: Sequence[Outcome], design: Design, rate: float = FALSE_DISCOVERY_RATE
) -> Associations:
    """Tests every trait with every outcome; of what is found, at most the share `rate` is chance on average.

    Traits that the same units have (or, of two, exactly the others) are tested once, the first of them.
    """
    strata = strata_of(design)
    tests = []
    for trait in distinct(traits, len(design.strata)):
        for outcome in outcomes:
            table = Table.of(trait.members, outcome.members, strata)
            if table.is_enough():
                tests.append((table.p(), trait, outcome, table))
    tests.sort(key=lambda test: test[0])
    qs = adjusted([test[0] for test in tests])
    passed = [(q, *test) for q, test in zip(qs, tests, strict=True) if q <= rate]
    z = _NORMAL.inv_cdf(1 - rate * len(passed) / len(tests) / 2) if passed else 0.0
    found = [_association(q, p, trait, outcome, table, z) for q, p, trait, outcome, table in passed]
    return Associations(len(tests), _clearest([a for a in found if a.low > 1 or a.high < 1]))


def adjusted(ps: Sequence[float]) -> list[float]:
    """q-values of ascending p-values (Benjamini and Hochberg 1995)."""
    least, qs = 1.0, []
    for i in range(len(ps) - 1, -1, -1):
        least = max(ps[i], min(least, ps[i] * len(ps) / (i + 1)))
        qs.append(least)
    return qs[::-1]


def distinct(traits: Sequence[Trait], units: int) -> list[Trait]:
    """The first of those that the same units have; of two that share the units out, the first."""
    everyone = (1 << units) - 1
    seen: dict[int, Trait] = {}
    for trait in traits:
        if trait.members not in seen and everyone & ~trait.members not in seen:
            seen[trait.members] = trait
    return list(seen.values())


def _clearest(found: Sequence[Association]) -> tuple[Association, ...]:
    """Ordered by how far from chance; of a ladder the first only."""
    told: dict[object, Association] = {}
    for a in sorted(found, key=lambda a: (a.p, -abs(log(a.ratio)), a.trait.name, a.trait.value)):
        step = (a.outcome.kind, a.outcome.category_id, a.trait.ladder) if a.trait.ladder else id(a)
        told.setdefault(step, a)
    return tuple(told.values())


def _association(q: float, p: float, trait: Trait, outcome: Outcome, table: Table, z: float) -> Association:
    middle, error = table.log_ratio()
    return Association(
        outcome=outcome,
        trait=trait,
        sampled=sum(c.x for c in table.cells),
        rate_with=min(1.0, table.pxy / table.px),
        rate_without=min(1.0, max(0.0, table.py - table.pxy) / (1 - table.px)),
        ratio=exp(middle),
        low=exp(middle - z * error),
        high=exp(middle + z * error),
        p=p,
        q=q,
    )
