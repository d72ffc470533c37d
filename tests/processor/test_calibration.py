"""Calibrated confidences: what they must be whatever is audited, and how right they are in simulations."""

from __future__ import annotations

import random
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tracetaxa.analyze.statistics.calibration import Outcome, calibrate, wrong_alike
from tracetaxa.config import AuditConfig

CONFIDENCE = st.floats(0, 1)
OUTCOMES = st.lists(st.builds(Outcome, CONFIDENCE, CONFIDENCE, st.booleans()), min_size=1, max_size=20)
LABELS = 10


def expected_calibration_error(told: list[float], right: list[bool], bins: int = 15) -> float:
    """Mean distance of confidence and accuracy over bins of (nearly) as many traces each."""
    # By confidence alone: ties must not be ordered by what is right.
    ranked = sorted(zip(told, right, strict=True), key=lambda pair: pair[0])
    edges = [len(ranked) * number // bins for number in range(bins + 1)]
    parts = [ranked[low:high] for low, high in pairwise(edges)]
    return sum(len(p) / len(ranked) * abs(fmean(c for c, _ in p) - fmean(ok for _, ok in p)) for p in parts)


@settings(max_examples=15, deadline=None)
@given(OUTCOMES, st.floats(0.01, 1))
def test_always_increasing_probabilities(outcomes: list[Outcome], by_chance: float) -> None:
    calibration = calibrate(outcomes, by_chance)
    told = [calibration(step / 20) for step in range(21)]
    assert all(0 < p < 1 for p in told)
    assert told == sorted(told)
    assert calibrate(list(reversed(outcomes)), by_chance)(0.7) == pytest.approx(calibration(0.7))


def test_nothing_audited_is_an_error() -> None:
    with pytest.raises(ValueError, match="twice"):
        calibrate([], 0.1)


def test_wrong_readings_that_say_the_same() -> None:
    assert wrong_alike({"a": 5, "b": 5, "c": 5, "d": 5}) == pytest.approx(1 / 3)
    assert wrong_alike({"a": 7, "b": 3}) == pytest.approx(1.0)
    assert wrong_alike({"a": 7}) == wrong_alike({}) == 1.0
    # Where one label is frequent, errors fall on it.
    assert wrong_alike({"a": 90, "b": 5, "c": 5}) > wrong_alike({"a": 34, "b": 33, "c": 33})


@pytest.mark.parametrize("right", [0.6, 0.8, 0.95])
def test_agreement_is_not_taken_for_accuracy(right: float) -> None:
    """Readings that are right independently in a share q agree in q² + (1 − q)²/9: q is found again, or a little
    less, for what the readings of a trace may share."""
    agree = right**2 + (1 - right) ** 2 / 9
    count = 2000
    outcomes = [Outcome(0.9, 0.9, number < agree * count) for number in range(count)]
    assert calibrate(outcomes, 1 / 9)(0.9) == pytest.approx(right - 0.005, abs=0.01)


def test_few_audited_traces_move_confidences_little() -> None:
    """Three agreements don't make certainty, three contradictions don't make nonsense."""
    assert calibrate([Outcome(0.9, 0.9, True)] * 3, 0.1)(0.9) < 0.93
    assert calibrate([Outcome(0.9, 0.9, False)] * 3, 0.1)(0.9) > 0.2
    assert calibrate([Outcome(0.9, 0.9, False)] * 100, 0.1)(0.9) < 0.2


class Noisy:
    """Labels of traces of unlike difficulty, read as often as wanted; the reader is too sure of itself."""

    def __init__(self, seed: int, traces: int = 2000) -> None:
        self.chance = random.Random(seed)
        self.difficulty = [self.chance.random() for _ in range(traces)]
        self.truth = [self.chance.randrange(LABELS) for _ in range(traces)]

    def read(self, trace: int) -> tuple[int, float]:
        hard = self.difficulty[trace] ** 2
        label = self.truth[trace]
        if self.chance.random() < 0.02 + 0.75 * hard:
            label = (label + self.chance.randrange(1, LABELS)) % LABELS
        stated = min(0.99, max(0.0, 0.98 - 0.35 * hard + self.chance.gauss(0, 0.02)))
        return label, round(stated * 20) / 20


def simulated(seed: int, audited: int) -> tuple[float, float, float]:
    """Expected calibration error as stated and as calibrated, and the area under the ROC curve."""
    world = Noisy(seed)
    first = [world.read(trace) for trace in range(len(world.truth))]
    outcomes = []
    for trace in world.chance.sample(range(len(first)), audited):
        label, stated = world.read(trace)
        outcomes.append(Outcome(first[trace][1], stated, label == first[trace][0]))
    calibration = calibrate(outcomes, wrong_alike(dict.fromkeys(range(LABELS), 1)))
    right = [label == true for (label, _), true in zip(first, world.truth, strict=True)]
    levels = {stated: calibration(stated) for _, stated in first}
    told = [levels[stated] for _, stated in first]
    return (
        expected_calibration_error([stated for _, stated in first], right),
        expected_calibration_error(told, right),
        float(roc_auc_score(right, told)),
    )


def test_calibrated_confidences_are_right() -> None:
    """With the audit's default size. Chance alone makes an error of about 0.025 of 2,000 traces in 15 bins."""
    runs = [simulated(seed, AuditConfig().size) for seed in range(8)]
    stated, calibrated, area = (fmean(values) for values in zip(*runs, strict=True))
    assert stated > 0.12
    assert calibrated <= 0.05
    assert area >= 0.7
    # Few audited traces teach less, but don't make it worse.
    assert fmean(error for _, error, _ in (simulated(seed, 20) for seed in range(4))) < stated
