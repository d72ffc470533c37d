"""Tests of independence: exact values, how often chance is taken for a finding, and what is found."""

from __future__ import annotations

import random
from math import comb, exp, inf, log
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracetaxa.analyze.findings.associations import (
    FALSE_DISCOVERY_RATE,
    Association,
    Associations,
    Outcome,
    Trait,
    adjusted,
    associations,
    distinct,
)
from tracetaxa.analyze.statistics.contingency import LEAST_GROUP, fisher, mask
from tracetaxa.analyze.statistics.estimate import Design

if TYPE_CHECKING:
    from collections.abc import Sequence

# ------------------------------------------------------------------------------------------------ parts


@given(st.integers(1, 60), st.data())
def test_fisher_is_twice_the_smaller_tail(n: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    low, high = max(0, x + y - n), min(x, y)
    both = data.draw(st.integers(low, high))
    ways = {k: comb(y, k) * comb(n - y, x - k) for k in range(low, high + 1)}
    above = sum(w for k, w in ways.items() if k >= both) / comb(n, x)
    below = sum(w for k, w in ways.items() if k <= both) / comb(n, x)
    exact = 1.0 if low == high else min(1.0, 2 * (above if both * n > x * y else below))
    assert fisher(n, x, y, both) == pytest.approx(exact, rel=1e-9)


def test_fisher_by_the_tea() -> None:
    """Fisher's lady: all four cups right of eight has the chance 1/70."""
    assert fisher(8, 4, 4, 4) == pytest.approx(2 / 70)


def test_adjusted_by_hand() -> None:
    assert adjusted([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert adjusted([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40).map(sorted))
def test_adjusted_never_falls_and_never_helps(ps: list[float]) -> None:
    qs = adjusted(ps)
    assert qs == sorted(qs)
    assert all(p <= q <= 1 for p, q in zip(ps, qs, strict=True))


@given(st.lists(st.booleans(), max_size=70))
def test_masks_have_the_bits_of_the_units(flags: list[bool]) -> None:
    assert [mask(flags) >> i & 1 == 1 for i in range(len(flags))] == flags


def test_what_the_same_units_have_is_one_trait() -> None:
    traits = [Trait("attribute", "a", "1", 0b0011), Trait("tool", "", "b", 0b0011)]
    traits += [Trait("attribute", "a", "2", 0b1100), Trait("model", "", "c", 0b0111)]
    assert distinct(traits, 4) == [traits[0], traits[3]]


# ------------------------------------------------------------------------------------------ what is found


def planted(n: int, with_: int, hits_with: int, hits_without: int) -> tuple[Trait, Outcome]:
    """The first `with_` units have the trait; so many of either side have the outcome."""
    trait = Trait("request", "with", "link", mask(i < with_ for i in range(n)))
    outcome = mask(i < hits_with or with_ <= i < with_ + hits_without for i in range(n))
    return trait, Outcome("errors", outcome)


def test_a_clear_difference_is_found_with_its_size() -> None:
    trait, outcome = planted(1000, 200, 60, 80)
    found = associations([trait], [outcome], Design.uniform(1000, 50_000))
    (only,) = found.found
    assert (found.tested, only.sampled) == (1, 200)
    assert (only.rate_with, only.rate_without) == (pytest.approx(0.3), pytest.approx(0.1))
    assert only.ratio == pytest.approx(3.0)
    # The log-normal interval of a ratio of two proportions (Katz et al. 1978): nothing else was tested.
    error = (1 / 60 - 1 / 200 + 1 / 80 - 1 / 800) ** 0.5
    assert only.low == pytest.approx(exp(log(3) - 1.96 * error), rel=0.01)
    assert only.high == pytest.approx(exp(log(3) + 1.96 * error), rel=0.01)
    assert only.q == only.p == pytest.approx(fisher(1000, 200, 140, 60))


def test_a_window_that_was_read_whole_still_needs_more_than_chance() -> None:
    trait, outcome = planted(100, 50, 13, 12)
    assert associations([trait], [outcome], Design.uniform(100, 100)).found == ()


@pytest.mark.parametrize(
    ("with_", "hits_with", "hits_without"),
    [(LEAST_GROUP - 1, 15, 10), (500, 9, 0), (20, 15, 0)],
)
def test_too_few_are_not_tested(with_: int, hits_with: int, hits_without: int) -> None:
    trait, outcome = planted(1000, with_, hits_with, hits_without)
    assert associations([trait], [outcome], Design.uniform(1000, 10**6)) == Associations(0, ())


def test_none_on_one_side_has_a_bound() -> None:
    trait, outcome = planted(1000, 200, 40, 0)
    (only,) = associations([trait], [outcome], Design.uniform(1000, 10**6)).found
    assert (only.rate_without, only.high < inf) == (0.0, True)
    assert only.low > 5


def test_of_a_ladder_the_clearest_step_is_told() -> None:
    n = 600
    steps = [
        Trait("request", "longer than", str(c), mask(i < c for i in range(n)), "length")
        for c in (80, 100, 300)
    ]
    outcome = Outcome("errors", mask(i < 100 and i % 2 == 0 for i in range(n)))
    found = associations(steps, [outcome], Design.uniform(n, 10**6))
    assert found.tested == 3
    assert [a.trait.value for a in found.found] == ["100"]


def test_what_was_read_more_often_counts_less() -> None:
    """Errors are half of the sample and a hundredth of the window: rates are the window's."""
    strata = ("error",) * 500 + ("ok",) * 500
    design = Design(strata, {"error": 1000, "ok": 99_000})
    # Of errors four in five have the trait, of the others one in five.
    trait = Trait("request", "with", "link", mask(i % 5 < 4 if i < 500 else i % 5 == 0 for i in range(1000)))
    (only,) = associations([trait], [Outcome("errors", mask(i < 500 for i in range(1000)))], design).found
    assert only.rate_with == pytest.approx(800 / (800 + 19_800))
    assert only.rate_without == pytest.approx(200 / (200 + 79_200))
    assert only.low < only.ratio < only.high


# ---------------------------------------------------------------------------------------------- simulations

DESIGNS = {
    "uniform": {"": (10_000, 800)},
    "errors, a third of the sample": {"error": (400, 270), "ok": (20_000, 530)},
    "ten strata, equal": {c: (200 * 2**i, 80) for i, c in enumerate("abcdefghij")},
}
KINDS = (30, 20, 15, 10, 8, 6, 4, 3, 2, 2)
RATES = (0.03, 0.05, 0.1, 0.2, 0.4)
RATIO = 3.0
PLANTED_RATE = 0.2


def simulated(strata: dict[str, tuple[int, int]], rng: random.Random, ratio: float = 1.0) -> Associations:
    """A sample with 30 traits and a request's length, 10 kinds, errors; the trait `planted` makes the fifth
    kind `ratio` times as frequent."""
    names = tuple(name for name, (_, drawn) in strata.items() for _ in range(drawn))
    design = Design(names, {name: size for name, (size, _) in strata.items()})
    units = range(len(names))
    traits = [
        Trait("attribute", f"a{i}", "yes", mask(rng.random() < RATES[i % 5] for _ in units))
        for i in range(30)
    ]
    lengths = [rng.lognormvariate(5, 1.5) for _ in units]
    traits += [
        Trait("request", "longer than", str(c), mask(length > c for length in lengths), "length")
        for c in (50, 200, 800, 3200)
    ]
    has = [rng.random() < PLANTED_RATE for _ in units]
    traits.append(Trait("attribute", "planted", "yes", mask(has)))
    share = KINDS[4] / sum(KINDS)
    kinds = [
        4 if has[i] and rng.random() < (ratio - 1) * share else rng.choices(range(10), KINDS)[0]
        for i in units
    ]
    outcomes = [Outcome("category", mask(kind == k for kind in kinds), str(k)) for k in range(10)]
    failed = (
        [name == "error" for name in names] if "error" in strata else [rng.random() < 0.08 for _ in units]
    )
    return associations(traits, [*outcomes, Outcome("errors", mask(failed))], design)


def is_planted(a: Association) -> bool:
    return a.trait.name == "planted"


def false_discoveries(runs: Sequence[Associations]) -> float:
    """Mean share of what was found that is chance; all categories do differ by the planted trait."""
    return sum(
        sum(not is_planted(a) for a in run.found) / len(run.found) if run.found else 0.0 for run in runs
    ) / len(runs)


def check(repetitions: int) -> None:
    for number, strata in enumerate(DESIGNS.values()):
        rng = random.Random(100 + number)
        null = [simulated(strata, rng) for _ in range(repetitions)]
        # Where nothing is there to be found, whatever is found is false (the trait `planted` too).
        assert sum(bool(run.found) for run in null) / repetitions <= FALSE_DISCOVERY_RATE
        assert all(run.tested > 100 for run in null)
    rng = random.Random(7)
    runs = [simulated(DESIGNS["uniform"], rng, RATIO) for _ in range(repetitions)]
    found = [[a for a in run.found if is_planted(a) and a.outcome.category_id == "4"] for run in runs]
    assert sum(map(bool, found)) / repetitions >= 0.8
    assert false_discoveries(runs) <= FALSE_DISCOVERY_RATE


def test_chance_is_seldom_taken_for_a_finding_and_a_planted_effect_is_found() -> None:
    check(25)


@pytest.mark.slow
def test_the_false_discovery_rate_holds_over_many_runs() -> None:
    check(400)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), min_size=45, max_size=120),
    st.lists(st.integers(0, 10**5), min_size=3, max_size=3),
)
def test_any_sample_gives_probabilities(sample: list[tuple[str, bool, bool]], more: list[int]) -> None:
    strata, having, doing = zip(*sample, strict=True)
    sizes = {name: strata.count(name) + extra for name, extra in zip("abc", more, strict=True)}
    found = associations(
        [Trait("tool", "", "x", mask(having))], [Outcome("errors", mask(doing))], Design(strata, sizes), 1.0
    )
    for a in found.found:
        assert 0 <= a.p <= a.q <= 1
        assert 0 <= a.rate_with <= 1
        assert 0 <= a.rate_without <= 1
        assert 0 < a.low <= a.ratio <= a.high < inf
