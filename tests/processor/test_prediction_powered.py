"""Prediction-powered estimates against known values and simulated populations, beside those of the sample alone."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.analyze.statistics.estimate import Design, Estimate, proportion, total
from tracetaxa.analyze.statistics.prediction_powered import PoweredDesign, Variable


def variable(labels: list[float], predictions: list[float], others: list[float]) -> Variable:
    return Variable(*({i: v for i, v in enumerate(values) if v} for values in (labels, predictions, others)))


def test_by_hand() -> None:
    # Half of the sample are members; predictions are right in it, and find 3 in 4 of the others.
    design = PoweredDesign([""] * 4, [""] * 4, {"": 8})
    members = variable([1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0])
    # Syf = S²f = 1/3 and S²g = 3/16: λ = (1/3 / 4) / (1/3 / 4 + 3/16 / 4).
    power = design.power([members])
    assert power == pytest.approx((1 / 12) / (1 / 12 + 3 / 64))
    assert design.share(members, 0.0).value == 0.5
    assert design.share(members, 1.0).value == 0.75
    assert design.share(members, power).value == pytest.approx(0.5 + 0.25 * power)


def test_predictions_that_say_nothing_count_for_nothing() -> None:
    rng = random.Random(3)
    labels = [float(rng.random() < 0.3) for _ in range(500)]
    noise = [float(rng.random() < 0.3) for _ in range(500)]
    others = [float(rng.random() < 0.3) for _ in range(10_000)]
    design = PoweredDesign([""] * 500, [""] * 10_000, {"": 10_500})
    members = variable(labels, noise, others)
    power = design.power([members])
    alone = proportion([bool(v) for v in labels], Design.uniform(500, 10_500))
    combined = design.share(members, power)
    assert power < 0.1
    assert combined.value == pytest.approx(alone.value, abs=0.005)
    assert combined.high - combined.low == pytest.approx(alone.high - alone.low, rel=0.03)


def test_without_other_units_the_sample_speaks_alone() -> None:
    labels = [1.0, 0.0, 0.0, 1.0, 1.0]
    design = PoweredDesign([""] * 5, [], {"": 50})
    members = variable(labels, labels, [])
    assert design.power([members]) == 0
    alone = proportion([bool(v) for v in labels], Design.uniform(5, 50))
    combined = design.share(members, 0.0)
    assert (combined.value, combined.low, combined.high) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )


def test_a_census_has_no_sampling_error() -> None:
    design = PoweredDesign([""] * 4, [], {"": 4})
    members = variable([1, 0, 0, 1], [1, 1, 1, 1], [])
    assert design.share(members, 1.0) == Estimate(0.5, 0.5, 0.5)
    assert design.total(variable([1, 2, 3, 4], [0, 0, 0, 0], []), 1.0) == Estimate(10, 10, 10)
    assert design.ratio(variable([1, 0, 0, 0], [0, 0, 0, 0], []), members, 0.0) == Estimate(0.5, 0.5, 0.5)


def test_nothing_labelled_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was labelled"):
        PoweredDesign([], [""], {"": 1})


units = st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans(), st.booleans(), st.floats(0, 10))


@given(
    st.lists(units, min_size=1, max_size=30),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.floats(0, 10)), max_size=60),
    st.floats(0, 1),
)
def test_intervals_are_intervals(labelled: list, others: list, power: float) -> None:
    sizes = Counter([unit[0] for unit in labelled] + [unit[0] for unit in others])
    design = PoweredDesign([u[0] for u in labelled], [u[0] for u in others], sizes)
    members = variable([u[1] for u in labelled], [u[2] for u in labelled], [u[1] for u in others])
    failed = variable(
        [u[1] and u[3] for u in labelled], [u[2] and u[3] for u in labelled], [u[1] / 2 for u in others]
    )
    spent = variable([u[1] * u[4] for u in labelled], [u[2] * u[4] for u in labelled], [u[2] for u in others])
    for estimate in (design.share(members, power), design.ratio(failed, members, power)):
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    cost = design.total(spent, power)
    assert 0 <= cost.low <= cost.value * (1 + 1e-9)
    assert cost.value <= cost.high * (1 + 1e-9)
    assert 0 <= design.power([members, failed]) <= 1


def test_shares_add_up_to_one() -> None:
    world = World("many", (0.4, 0.3, 0.2, 0.1), labelled=100, error=0.2)
    sample = world.draw(random.Random(4))
    shares = [sample.design.share(v, sample.power).value for v in sample.variables]
    assert sum(shares) == pytest.approx(1)


# --------------------------------------------------------------------------------------------- simulations


@dataclass
class World:
    """A population with its truth and what a classifier says of each unit; errors go to any other kind alike."""

    name: str
    shares: tuple[float, ...]
    labelled: int
    error: float
    others: int = 20
    """Units that are only predicted, for each labelled one."""
    drawn: dict[str, int] = field(default_factory=dict)
    """How many of each stratum; uniform when empty."""

    def __post_init__(self) -> None:
        rng = random.Random(f"world {self.name}")
        kinds = range(len(self.shares))
        self.kinds = rng.choices(kinds, self.shares, k=self.labelled * (1 + self.others))
        self.guesses = [
            rng.choice([k for k in kinds if k != kind]) if rng.random() < self.error else kind
            for kind in self.kinds
        ]
        # What fails, and what it costs, depends on the kind.
        self.failed = [rng.random() < 0.05 + 0.1 * kind for kind in self.kinds]
        self.costs = [rng.lognormvariate(kind / 4, 0.5) for kind in self.kinds]
        self.strata = [("error" if failed else "ok") if self.drawn else "" for failed in self.failed]
        self.by_stratum: dict[str, list[int]] = {}
        for unit, name in enumerate(self.strata):
            self.by_stratum.setdefault(name, []).append(unit)
        self.sizes = {name: float(len(members)) for name, members in self.by_stratum.items()}

    def draw(self, rng: random.Random) -> Sample:
        drawn = self.drawn or {"": self.labelled}
        chosen = [u for name, n in drawn.items() for u in rng.sample(self.by_stratum[name], n)]
        return Sample(self, chosen)

    def truth(self, kind: int) -> tuple[float, float, float]:
        members = [u for u, k in enumerate(self.kinds) if k == kind]
        failed = sum(self.failed[u] for u in members) / len(members)
        return len(members) / len(self.kinds), failed, sum(self.costs[u] for u in members)


class Sample:
    def __init__(self, world: World, chosen: list[int]) -> None:
        self.world, self.chosen = world, chosen
        known = set(chosen)
        self.others = [u for u in range(len(world.kinds)) if u not in known]
        strata = [world.strata[u] for u in chosen]
        self.design = PoweredDesign(strata, [world.strata[u] for u in self.others], world.sizes)
        self.alone = Design(tuple(strata), world.sizes)
        self.variables = [self.of(kind, [1.0] * len(world.kinds)) for kind in range(len(world.shares))]
        self.power = self.design.power(self.variables)

    def of(self, kind: int, values: list[float]) -> Variable:
        world = self.world
        return Variable(
            {i: values[u] for i, u in enumerate(self.chosen) if world.kinds[u] == kind},
            {i: values[u] for i, u in enumerate(self.chosen) if world.guesses[u] == kind},
            {i: values[u] for i, u in enumerate(self.others) if world.guesses[u] == kind},
        )


WORLDS = [
    World("two halves", (0.5, 0.5), 200, 0.1),
    World("ten alike", (0.1,) * 10, 300, 0.1),
    World("skewed", (0.5, 0.25, 0.12, 0.08, 0.05), 300, 0.1),
    World("often wrong", (0.5, 0.3, 0.2), 200, 0.4),
    World("few others", (0.5, 0.3, 0.2), 200, 0.1, others=2),
    World("errors oversampled", (0.4, 0.3, 0.2, 0.1), 300, 0.1, drawn={"error": 150, "ok": 150}),
]


def simulate(replications: int) -> tuple[list[float], dict[str, float]]:
    """Coverage of every share in every world, and by world how much narrower intervals are than the sample's."""
    coverage, narrower = [], {}
    for world in WORLDS:
        rng = random.Random(11)
        kinds = range(len(world.shares))
        truth = [world.truth(kind)[0] for kind in kinds]
        covered: Counter[int] = Counter()
        widths = [0.0, 0.0]
        for _ in range(replications):
            sample = world.draw(rng)
            for kind in kinds:
                combined = sample.design.share(sample.variables[kind], sample.power)
                alone = proportion([world.kinds[u] == kind for u in sample.chosen], sample.alone)
                covered[kind] += combined.low <= truth[kind] <= combined.high
                widths[0] += combined.high - combined.low
                widths[1] += alone.high - alone.low
        coverage += [covered[kind] / replications for kind in kinds]
        narrower[world.name] = 1 - widths[0] / widths[1]
    return coverage, narrower


def test_intervals_cover_the_truth_and_are_narrower() -> None:
    """A short version of the next: chance is larger here."""
    coverage, narrower = simulate(40)
    assert 0.92 <= sum(coverage) / len(coverage) <= 0.985
    assert narrower["two halves"] >= 0.33
    assert narrower["ten alike"] >= 0.35
    assert narrower["often wrong"] >= 0


@pytest.mark.slow
def test_coverage_over_a_thousand_samples() -> None:
    """At 20 others for each labelled unit and symmetric errors of 10 %: 35 % narrower and more, coverage kept."""
    coverage, narrower = simulate(1000)
    print({"coverage": [min(coverage), sum(coverage) / len(coverage), max(coverage)], "narrower": narrower})
    assert 0.93 <= sum(coverage) / len(coverage) <= 0.97
    assert min(coverage) >= 0.92
    assert narrower["two halves"] >= 0.35
    assert narrower["ten alike"] >= 0.35
    assert narrower["skewed"] >= 0.35
    assert all(gain > -0.01 for gain in narrower.values())


def test_error_rates_and_costs_cover_the_truth() -> None:
    """Of one kind of each world, beside those of the sample alone."""
    rng = random.Random(12)
    coverage, widths = [], [0.0, 0.0]
    for world in WORLDS:
        rate, cost = world.truth(1)[1:]
        covered = [0, 0]
        for _ in range(60):
            sample = world.draw(rng)
            failed = sample.of(1, [float(f) for f in world.failed])
            rates = sample.design.ratio(failed, sample.variables[1], sample.power)
            costs = sample.design.total(sample.of(1, world.costs), sample.power)
            alone = total([world.costs[u] * (world.kinds[u] == 1) for u in sample.chosen], sample.alone)
            covered[0] += rates.low <= rate <= rates.high
            covered[1] += costs.low <= cost <= costs.high
            widths[0] += (costs.high - costs.low) / cost
            widths[1] += (alone.high - alone.low) / cost
        coverage += [c / 60 for c in covered]
    assert 0.91 <= sum(coverage) / len(coverage) <= 0.98
    assert widths[0] < 0.8 * widths[1]
