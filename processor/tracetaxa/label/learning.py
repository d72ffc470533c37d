"""From labelled traces to all that a classifier is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracetaxa.errors import NotEnoughLabels
from tracetaxa.label.archive import MOST_WEIGHTS, Learned
from tracetaxa.label.features import Counts, Lexicon, parts_of
from tracetaxa.label.judging import calibrated, judge
from tracetaxa.label.kinds import Indices, Kinds
from tracetaxa.label.ridge import Machine, Scores, cross_scores, folds_of, squared_error
from tracetaxa.label.space import MIXTURES, Likeness, Mixture, Points, Space, kernels, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.label.space import Embedder
    from tracetaxa.records import Assignment, Taxonomy, TraceRow

Array = npt.NDArray[Any]

RIDGES = (0.1, 0.3, 1.0)
"""Candidates; the kernel of a trace with itself is 1."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to learn. `Classifier.train` says what each does."""

    seed: int
    least_labels: int
    least_labels_of_a_kind: int
    most_labels: int
    folds: int
    least_confidence: float
    least_subcategory_confidence: float
    unlike: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """Traces with a usable label, and how many of the population each stands for; parallel."""

    rows: list[TraceRow]
    labels: list[Assignment]
    weights: Array
    """Their mean is 1."""

    @classmethod
    def of(
        cls,
        traces: Sequence[TraceRow],
        labels: Sequence[Assignment],
        weights: Sequence[float] | None,
        taxonomy: Taxonomy,
    ) -> Labelled:
        """In the order of trace ids, so that the order of the labels does not matter."""
        by_id = {row.trace_id: row for row in traces}
        known = {category.category_id for category in taxonomy.top}
        usable = {
            label.trace_id: (label, weight)
            for label, weight in zip(labels, weights or [1.0] * len(labels), strict=True)
            if label.trace_id in by_id and label.category_id in known and not label.abstained
        }
        ids = sorted(usable)
        stood_for = np.array([usable[i][1] for i in ids], dtype=np.float64)
        return cls(
            [by_id[i] for i in ids],
            [usable[i][0] for i in ids],
            stood_for / stood_for.mean() if len(ids) else stood_for,
        )

    def thinned(self, most: int, rng: np.random.Generator) -> Labelled:
        if len(self.labels) <= most:
            return self
        kept = np.sort(rng.permutation(len(self.labels))[:most]).tolist()
        rows, labels = [self.rows[i] for i in kept], [self.labels[i] for i in kept]
        return Labelled(rows, labels, self.weights[kept] / self.weights[kept].mean())


def learn(labelled: Labelled, taxonomy: Taxonomy, embedder: Embedder | None, plan: Plan) -> Learned:
    """Raises NotEnoughLabels."""
    rng = np.random.default_rng(plan.seed)
    kinds = _kinds(labelled, taxonomy, plan)
    labelled = labelled.thinned(plan.most_labels, rng)
    tops, leaves = kinds.targets(labelled.labels)
    fold = folds_of(leaves, plan.folds, rng)
    lexicon, points = _points(labelled.rows, kinds, embedder)
    mixture, ridge, kernel = _best(points, lexicon, tops, kinds, fold)
    crossed = Scores.split(cross_scores(kernel, tops, leaves, kinds, fold, ridge), kinds)
    alike = Likeness(points, lexicon, mixture)(points)
    alike[fold[:, None] == fold[None, :]] = 0
    calibration = calibrated(crossed, tops, leaves, kinds, labelled.weights, alike.max(axis=1), plan.unlike)
    return Learned(
        embedding=embedder.name if embedder else "",
        kinds=kinds,
        trace_ids=tuple(row.trace_id for row in labelled.rows),
        lexicon=lexicon,
        points=points,
        mixture=mixture,
        ridge=ridge,
        machine=Machine.fit(kernel, tops, leaves, kinds, ridge),
        calibration=calibration,
        least_confidence=plan.least_confidence,
        least_subcategory_confidence=plan.least_subcategory_confidence,
        cross=judge(crossed, alike, kinds, calibration, plan.least_subcategory_confidence),
    )


def _kinds(labelled: Labelled, taxonomy: Taxonomy, plan: Plan) -> Kinds:
    kinds = Kinds.learnable(labelled.labels, taxonomy, least_labels=plan.least_labels_of_a_kind)
    if len(labelled.labels) < plan.least_labels:
        raise NotEnoughLabels(
            f"{len(labelled.labels)} labelled traces are too few to learn from: it takes "
            f"{plan.least_labels}. Raise sample.size of the analysis, or widen its window"
        )
    if len(kinds.categories) < 2:
        raise NotEnoughLabels(
            f"fewer than two categories have the {plan.least_labels_of_a_kind} labelled traces that it "
            "takes to learn one. Raise sample.size of the analysis, or widen its window"
        )
    return kinds


def _points(rows: Sequence[TraceRow], kinds: Kinds, embedder: Embedder | None) -> tuple[Lexicon, Points]:
    parts = [parts_of(row) for row in rows]
    counts = Counts.of(parts)
    columns = len(kinds.categories) + 2 * len(kinds.leaves)
    lexicon = Lexicon.learn(counts, most=MOST_WEIGHTS // columns)
    return lexicon, Space(lexicon, embedder).place(parts, counts).rounded()


def _best(
    points: Points, lexicon: Lexicon, tops: Indices, kinds: Kinds, fold: Indices
) -> tuple[Mixture, float, Array]:
    """The mixture and the ridge whose folds err least on traces that they did not see, and the kernel."""
    parts = kernels(points, lexicon)
    candidates = []
    for mixture in (mixture.scaled(points) for mixture in MIXTURES):
        kernel = mixed(parts, mixture, len(tops))
        for ridge in RIDGES:
            error = squared_error(kernel, tops, len(kinds.categories), fold, ridge)
            # Rounded: what is the same but for arithmetic must not be decided by it.
            candidates.append((round(error, 9), mixture, ridge))
    _, mixture, ridge = min(candidates, key=lambda candidate: candidate[0])
    return mixture, ridge, mixed(parts, mixture, len(tops))
