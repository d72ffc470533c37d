"""A digest keeps what decides a category: it tells the labels of real runs as well as the whole transcript."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from bench.digests import Case, cases, comparisons, transcript
from bench.loaders import TAU_BENCH, available

from tracetaxa.analyze.digests.digest import CHARACTERS_PER_TOKEN, digest

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not available(DATA), reason="the real runs are not in ../shared/data")

MOST_TOKENS = 450
TOKENS_PER_FOUR_CHARACTERS = 1.05
"""Of GPT's o200k_base on these digests, as `python -m bench digests` counts where bpe-openai is installed."""
LEAST_DIFFERENCE = -0.03
"""In area under the ROC curve, at the lower end of the 95 % interval."""


@pytest.fixture(scope="module")
def known() -> list[Case]:
    return cases(DATA)


def test_digests_are_short_and_transcripts_are_not(known: list[Case]) -> None:
    told = fmean(len(digest(case.trace).text) for case in known) / CHARACTERS_PER_TOKEN
    said = fmean(len(transcript(case.trace)) for case in known) / CHARACTERS_PER_TOKEN

    assert len(known) == 586
    assert 300 < told * TOKENS_PER_FOUR_CHARACTERS <= MOST_TOKENS
    assert said > 5 * told


@pytest.mark.slow
def test_a_classifier_learns_as_much_from_digests_as_from_transcripts(known: list[Case]) -> None:
    """Five folds, each with the better of two strengths; the bench has more of both."""
    found = comparisons(
        [case for case in known if case.dataset != TAU_BENCH], repeats=1, strengths=(1.0, 10.0)
    )

    assert set(found) == {
        "domain",
        "success",
        "expected actions",
        "an expected action is missing",
        "an action too many",
        "transferred to a person",
        "a tool failed",
    }
    assert {name: one["low"] for name, one in found.items() if one["low"] < LEAST_DIFFERENCE} == {}
    # What is not learned from either would show no difference.
    assert min(one["transcript"] for one in found.values()) > 0.65
