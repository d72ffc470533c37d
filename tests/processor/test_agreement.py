"""Agreement of two labellings and of two groupings, against scikit-learn and figures worked out by hand."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, cohen_kappa_score

from tracetaxa.analyze.statistics.agreement import agreement, cohen_kappa, krippendorff_alpha, wilson
from tracetaxa.analyze.statistics.partitions import adjusted_mutual_information, adjusted_rand, overlaps

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=2, max_size=60)


@settings(deadline=None)
@given(PAIRS)
def test_kappa_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    ours = cohen_kappa(pairs)
    if ours is None:
        assert len({label for pair in pairs for label in pair}) == 1
    else:
        assert ours == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))


@settings(deadline=None)
@given(PAIRS)
def test_groupings_are_compared_as_by_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    first, second = zip(*pairs, strict=True)
    assert adjusted_rand(pairs) == pytest.approx(adjusted_rand_score(first, second), abs=1e-9)
    assert adjusted_mutual_information(pairs) == pytest.approx(
        adjusted_mutual_info_score(first, second), abs=1e-9
    )


@settings(deadline=None)
@given(PAIRS, st.randoms())
def test_names_and_order_make_no_difference(pairs: list[tuple[str, str]], chance: random.Random) -> None:
    renamed = [(a, f"group {b}") for a, b in pairs]
    chance.shuffle(renamed)
    assert adjusted_rand(renamed) == pytest.approx(adjusted_rand(pairs))
    assert adjusted_mutual_information(renamed) == pytest.approx(adjusted_mutual_information(pairs))
    assert cohen_kappa([(b, a) for a, b in pairs]) == cohen_kappa(pairs)


def test_alpha_of_krippendorffs_example() -> None:
    """Twelve of the fifteen units of the nominal example of Krippendorff (2011), §C, two observers."""
    first = "aabbdccceda"
    second = "baccbdccedd"
    pairs = list(zip(first, second, strict=True))
    # Worked out by hand from the coincidence matrix: disagreements and the products of its margins.
    margins = {label: (first + second).count(label) for label in "abcde"}
    n = sum(margins.values())
    observed = sum(a != b for a, b in pairs) * 2
    expected = sum(margins[a] * margins[b] for a in margins for b in margins if a != b) / (n - 1)
    assert krippendorff_alpha(pairs) == pytest.approx(1 - observed / expected)
    assert krippendorff_alpha([("a", "a")] * 5) is None
    assert krippendorff_alpha([("a", "a"), ("b", "b")]) == 1.0


def test_chance_is_near_zero_and_likeness_is_one() -> None:
    chance = random.Random(7)
    pairs = [(chance.choice("abcd"), chance.choice("abcd")) for _ in range(4000)]
    for measure in (cohen_kappa, krippendorff_alpha, adjusted_rand, adjusted_mutual_information):
        assert measure(pairs) == pytest.approx(0.0, abs=0.04)
        assert measure([(a, a) for a, _ in pairs]) == pytest.approx(1.0)


def test_the_interval_of_agreement() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    found = agreement([("a", "a")] * 9 + [("a", "b")])
    assert found is not None
    assert (found.compared, found.agreed, found.share) == (10, 9, 0.9)
    assert found.share_low < 0.9 < found.share_high
    assert agreement([]) is None


def test_overlap_with_the_group_that_fits_best() -> None:
    pairs = [("a", "x")] * 6 + [("a", "y")] * 2 + [("b", "y")] * 4 + [("c", "z")] * 3
    assert overlaps(pairs) == pytest.approx({"a": 6 / 8, "b": 4 / 6, "c": 1.0})


def test_many_traces_stay_finite() -> None:
    chance = random.Random(3)
    pairs = [(str(chance.randrange(40)), str(chance.randrange(40))) for _ in range(2000)]
    assert math.isfinite(adjusted_mutual_information(pairs))
    assert adjusted_mutual_information(pairs) == pytest.approx(
        adjusted_mutual_info_score(*zip(*pairs, strict=True)), abs=1e-9
    )
