"""Estimates against known values and against simulated populations."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.analyze.statistics.estimate import (
    CONFIDENCE,
    Design,
    Estimate,
    effective_size,
    mean,
    proportion,
    quantile,
    total,
)

uniform = Design.uniform


def test_wilson_by_hand() -> None:
    # 10 of 100, no finite population: Wilson's interval is 0.0552 to 0.1744 (Brown, Cai, DasGupta 2001, table).
    # The spread within the stratum is judged a little more carefully, so the interval is a little wider.
    estimate = proportion([True] * 10 + [False] * 90, uniform(100, 10**12))
    assert estimate.value == pytest.approx(0.1)
    assert estimate.low == pytest.approx(0.0552, abs=2e-3)
    assert estimate.high == pytest.approx(0.1744, abs=4e-3)


def test_a_census_has_no_sampling_error() -> None:
    share = proportion([True, False, False, True], uniform(4, 4))
    assert (share.value, share.low, share.high) == (0.5, 0.5, 0.5)
    cost = total([1.0, 2.0, 3.0], uniform(3, 3))
    assert (cost.value, cost.low, cost.high) == (6.0, 6.0, 6.0)


def test_a_stratum_that_was_read_whole_adds_no_error() -> None:
    some = Design(("a",) * 4 + ("b",) * 4, {"a": 4, "b": 400})
    values = [1.0, 9.0, 2.0, 8.0, 5.0, 5.0, 5.0, 5.0]
    cost = total(values, some)
    assert (cost.value, cost.low, cost.high) == (2020.0, 2020.0, 2020.0)


def test_nothing_sampled_says_nothing() -> None:
    assert proportion([], uniform(0, 10)).high == 1.0
    assert total([], uniform(0, 10)).value == 0.0
    assert quantile([], [], 0.5) == 0.0
    assert mean([], []) == 0.0
    assert effective_size([]) == 0.0


def test_weights_speak_for_the_population() -> None:
    # Errors were drawn five times as often: each counts a fifth.
    design = Design(("error",) * 50 + ("ok",) * 50, {"error": 50, "ok": 250})
    share = proportion([True] * 50 + [False] * 50, design)
    assert share.value == pytest.approx(50 / 300)
    assert sum(design.weights) == pytest.approx(300)


def test_a_stratum_without_units_stands_behind_the_others() -> None:
    design = Design(("a", "a"), {"a": 10, "b": 30})
    assert design.weights == (20.0, 20.0)
    assert proportion([True, False], design).value == 0.5


def test_effective_size() -> None:
    assert effective_size([2.0] * 10) == pytest.approx(10)
    assert effective_size([1.0, 9.0]) == pytest.approx(100 / 82)


def test_quantiles_are_weighted() -> None:
    assert quantile([1, 2, 3, 4], [1, 1, 1, 1], 0.5) == 2
    assert quantile([1, 2, 3, 4], [1, 1, 1, 10], 0.5) == 4
    assert quantile([5], [0.1], 0.95) == 5


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from("abc"), st.floats(-10, 10)),
        min_size=1,
        max_size=50,
    ),
    st.lists(st.integers(0, 10**6), min_size=3, max_size=3),
)
def test_intervals_are_intervals(sample: list[tuple[bool, bool, str, float]], more: list[int]) -> None:
    hits, inside, strata, values = zip(*sample, strict=True)
    counts = Counter(strata)
    design = Design(strata, {name: counts[name] + extra for name, extra in zip("abc", more, strict=True)})
    for estimate in (proportion(hits, design), proportion(hits, design, inside)):
        assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    spent = total([abs(value) for value in values], design)
    assert 0.0 <= spent.low <= spent.value * (1 + 1e-9)
    assert spent.value <= spent.high * (1 + 1e-9)


# --------------------------------------------------------------------------------------------- simulations

REPETITIONS = 1000
POPULATIONS = {
    # Kinds of a window, and of how many units each in each stratum; how many are drawn of each stratum.
    "uniform, small": ({"": (50, 200, 300, 450)}, {"": 200}),
    "uniform, large": ({"": (100, 400, 3000, 6500)}, {"": 500}),
    "errors, half of the sample": ({"error": (200, 100, 60, 40), "ok": (20, 400, 3080, 1100)}, {"error": 150, "ok": 150}),
    "errors, few": ({"error": (100, 20, 10, 20), "ok": (10, 800, 1020, 1020)}, {"error": 40, "ok": 360}),
    "three of feedback": (
        {"low": (40, 5, 3, 2), "good": (30, 60, 50, 10), "none": (0, 180, 1500, 120)},
        {"low": 30, "good": 60, "none": 110},
    ),
    "six strata, equal": (
        {
            "a": (20, 5, 5, 0), "b": (20, 30, 10, 10), "c": (50, 100, 100, 50),
            "d": (60, 200, 240, 100), "e": (0, 500, 1400, 100), "f": (30, 300, 2400, 270),
        },
        {"a": 30, "b": 60, "c": 65, "d": 65, "e": 65, "f": 65},
    ),
}  # fmt: skip


class Simulation:
    """Draws samples of a population and counts how often intervals hold the truth, and how wide they are."""

    def __init__(self, kinds: dict[str, tuple[int, ...]], drawn: dict[str, int], rng: random.Random) -> None:
        self.drawn, self.rng = drawn, rng
        self.units = {
            name: [kind for kind, count in enumerate(counts) for _ in range(count)]
            for name, counts in kinds.items()
        }
        self.sizes = {name: float(len(units)) for name, units in self.units.items()}
        self.population = sum(self.sizes.values())
        totals = [sum(column) for column in zip(*kinds.values(), strict=True)]
        self.truth = [number / self.population for number in totals]
        self.expected = [
            sum(drawn[n] * counts[kind] / self.sizes[n] for n, counts in kinds.items())
            for kind in range(len(totals))
        ]

    def sample(self) -> tuple[list[int], Design]:
        found = [
            (name, kind) for name, n in self.drawn.items() for kind in self.rng.sample(self.units[name], n)
        ]
        return [kind for _, kind in found], Design(tuple(name for name, _ in found), self.sizes)

    def design_width(self, kind: int) -> float:
        """Of the normal interval with the true variance of the stratified estimator (Cochran §5.6)."""
        variance = 0.0
        for name, units in self.units.items():
            size, n = self.sizes[name], self.drawn[name]
            p = units.count(kind) / size
            variance += (size / self.population) ** 2 * (1 - n / size) * p * (1 - p) * size / (size - 1) / n
        return 2 * 1.96 * variance**0.5


def test_intervals_of_shares_cover_the_truth_and_are_not_too_wide() -> None:
    """Biased samples too: 93 to 97 % on average, none below 92 %, width within 1.15 of the design's own."""
    rng = random.Random(7)
    coverage: list[float] = []
    widths: list[float] = []
    for kinds, drawn in POPULATIONS.values():
        simulation = Simulation(kinds, drawn, rng)
        common = [k for k, expected in enumerate(simulation.expected) if expected >= 10]
        covered: Counter[int] = Counter()
        width: dict[int, float] = dict.fromkeys(common, 0.0)
        for _ in range(REPETITIONS):
            found, design = simulation.sample()
            for kind in common:
                estimate = proportion([k == kind for k in found], design)
                covered[kind] += _holds(estimate, simulation.truth[kind])
                width[kind] += estimate.high - estimate.low
        coverage += [covered[kind] / REPETITIONS for kind in common]
        widths += [width[kind] / REPETITIONS / simulation.design_width(kind) for kind in common]
    assert 0.93 <= sum(coverage) / len(coverage) <= 0.97
    assert min(coverage) >= 0.92
    assert sum(widths) / len(widths) <= 1.15
    assert CONFIDENCE == 0.95


def test_intervals_of_error_rates_and_costs_cover_the_truth() -> None:
    rng = random.Random(11)
    coverage: list[float] = []
    for kinds, drawn in POPULATIONS.values():
        simulation = Simulation(kinds, drawn, rng)
        # What fails, and what it costs, depends on the kind; both are fixed for each unit of the population.
        state = {
            name: [
                (kind, rng.random() < 0.2 + 0.15 * kind, rng.lognormvariate(kind / 4, 0.5)) for kind in units
            ]
            for name, units in simulation.units.items()
        }
        members = [unit for units in state.values() for unit in units if unit[0] == 1]
        rate, cost = mean([u[1] for u in members], [1.0] * len(members)), sum(u[2] for u in members)
        rates = costs = 0
        for _ in range(REPETITIONS):
            found = [(name, u) for name, n in drawn.items() for u in rng.sample(state[name], n)]
            design = Design(tuple(name for name, _ in found), simulation.sizes)
            inside = [u[0] == 1 for _, u in found]
            rates += _holds(proportion([u[1] for _, u in found], design, inside), rate)
            costs += _holds(total([u[2] if u[0] == 1 else 0.0 for _, u in found], design), cost)
        coverage += [rates / REPETITIONS, costs / REPETITIONS]
    assert 0.93 <= sum(coverage) / len(coverage) <= 0.97
    assert min(coverage) >= 0.90


def _holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high
