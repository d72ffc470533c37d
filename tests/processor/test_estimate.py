"""Estimates against known values and against simulated populations."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.analyze.estimate import effective_size, mean, proportion, quantile, total


def test_wilson_by_hand() -> None:
    # 10 of 100, no finite population: Wilson's interval is 0.0552 to 0.1744 (Brown, Cai, DasGupta 2001, table).
    estimate = proportion([True] * 10 + [False] * 90, [1.0] * 100, population=10**12)
    assert estimate.value == pytest.approx(0.1)
    assert estimate.low == pytest.approx(0.0552, abs=1e-4)
    assert estimate.high == pytest.approx(0.1744, abs=1e-4)


def test_a_census_has_no_sampling_error() -> None:
    share = proportion([True, False, False, True], [1.0] * 4, population=4)
    assert (share.value, share.low, share.high) == (0.5, 0.5, 0.5)
    cost = total([1.0, 2.0, 3.0], [1.0] * 3, population=3)
    assert (cost.value, cost.low, cost.high) == (6.0, 6.0, 6.0)


def test_nothing_sampled_says_nothing() -> None:
    assert proportion([], [], 10).high == 1.0
    assert total([], [], 10).value == 0.0
    assert quantile([], [], 0.5) == 0.0
    assert mean([], []) == 0.0
    assert effective_size([]) == 0.0


def test_weights_speak_for_the_population() -> None:
    # Errors were drawn five times as often: each counts a fifth.
    share = proportion([True] * 50 + [False] * 50, [1.0] * 50 + [5.0] * 50, population=300)
    assert share.value == pytest.approx(50 / 300)


def test_effective_size() -> None:
    assert effective_size([2.0] * 10) == pytest.approx(10)
    assert effective_size([1.0, 9.0]) == pytest.approx(100 / 82)


def test_quantiles_are_weighted() -> None:
    assert quantile([1, 2, 3, 4], [1, 1, 1, 1], 0.5) == 2
    assert quantile([1, 2, 3, 4], [1, 1, 1, 10], 0.5) == 4
    assert quantile([5], [0.1], 0.95) == 5


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.1, 100)), min_size=1, max_size=50),
    st.integers(0, 10**6),
)
def test_intervals_are_intervals(sample: list[tuple[bool, float]], more: int) -> None:
    hits, weights = zip(*sample, strict=True)
    estimate = proportion(hits, weights, population=len(sample) + more)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0


@pytest.mark.parametrize(("population", "size", "share"), [(2000, 400, 0.1), (500, 400, 0.3)])
def test_intervals_cover_the_truth(population: int, size: int, share: float) -> None:
    """1,000 samples without replacement: 95 % intervals of share and total hold the truth about that often."""
    rng = random.Random(7)
    kinds = [i < population * share for i in range(population)]
    costs = [rng.lognormvariate(0, 0.5) if kind else 0.0 for kind in kinds]
    truth, cost_truth = sum(kinds) / population, sum(costs)
    covered = cost_covered = 0
    for _ in range(1000):
        drawn = rng.sample(range(population), size)
        weights = [population / size] * size
        estimate = proportion([kinds[i] for i in drawn], weights, population)
        covered += estimate.low <= truth <= estimate.high
        spent = total([costs[i] for i in drawn], weights, population)
        cost_covered += spent.low <= cost_truth <= spent.high
    assert 0.93 <= covered / 1000 <= 0.98
    assert 0.92 <= cost_covered / 1000 <= 0.98
