"""Categories that stand beside each other, and the sampled traces that say where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tracetaxa.analyze.cluster import Matrix, Neighbourhood, Space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.analyze.keywords import Term, Vocabulary
    from tracetaxa.analyze.represent import Views
    from tracetaxa.records import Category

Weights = tuple[float, float, float]
"""Of request, answer and action."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level below one parent. Label i means the i-th category."""

    categories: tuple[Category, ...]
    weights: Weights
    space: Space
    labels: Matrix
    """One a sampled trace: -1 outside."""
    neighbourhood: Neighbourhood
    scores: tuple[Mapping[Term, float], ...]
    """How telling each term is, by label."""

    @classmethod
    def of(
        cls,
        categories: tuple[Category, ...],
        weights: Weights,
        space: Space,
        points: Matrix,
        labels: Matrix,
        vocabulary: Vocabulary,
    ) -> Level:
        """`points` are the whole sample's places in `space`."""
        members = labels >= 0
        scores = tuple(vocabulary.scores(label) for label in range(len(categories)))
        return cls(
            categories, weights, space, labels, Neighbourhood(points[members], labels[members]), scores
        )

    def vote(self, views: Views, sampled: Matrix) -> tuple[Matrix, Matrix]:
        """Label (-1 for none) and confidence of each trace; `sampled` is its row in the sample, or -1."""
        members = self.labels >= 0
        position = np.where(members, np.cumsum(members) - 1, -1)
        skip = np.where(sampled >= 0, position[sampled], -1)
        points = self.space.place(views.joined(self.weights))
        labels, sure = self.neighbourhood.vote(points, skip=skip)
        # Nobody else to ask: a trace alone is of its own kind.
        own = np.where(sampled >= 0, self.labels[sampled], -1)
        return np.where(labels < 0, own, labels), np.where(labels < 0, 0.5, sure)
