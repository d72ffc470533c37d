"""Categories that stand beside each other, and the sampled traces that say where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tracetaxa.analyze.local.cluster import Matrix, Neighbourhood, Space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.analyze.local.keywords import Term, Vocabulary
    from tracetaxa.analyze.local.represent import Views
    from tracetaxa.records import Category

Weights = tuple[float, float, float]
"""Of request, answer and action."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level below one parent. Label i means the i-th category, -1 none of them."""

    categories: tuple[Category, ...]
    weights: Weights
    space: Space
    labels: Matrix
    """One a sampled trace."""
    voters: Matrix
    """Rows of the sampled traces that vote, also of those that vote for none."""
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
        voters: Matrix,
        vocabulary: Vocabulary,
        steadiness: Matrix | None = None,
    ) -> Level:
        """`points` are the whole sample's places in `space`, `steadiness` is of each; None: not known."""
        none = len(categories)
        votes = np.where(labels[voters] < 0, none, labels[voters])
        scores = tuple(vocabulary.scores(label) for label in range(none))
        steady = np.ones(len(voters)) if steadiness is None else steadiness[voters]
        neighbourhood = Neighbourhood(points[voters], votes, steady)
        return cls(categories, weights, space, labels, voters, neighbourhood, scores)

    def vote(self, views: Views, sampled: Matrix) -> tuple[Matrix, Matrix]:
        """Label and confidence of each trace; `sampled` is its row in the sample, or -1."""
        position = np.full(len(self.labels), -1)
        position[self.voters] = np.arange(len(self.voters))
        own = np.where(sampled >= 0, position[sampled], -1)
        labels, sure = self.neighbourhood.vote(self.space.place(views.joined(self.weights)), own)
        return np.where(labels == len(self.categories), -1, labels), sure
