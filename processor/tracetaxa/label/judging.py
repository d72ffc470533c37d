"""Scores to verdicts: the likeliest category, then the likeliest of its subcategories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracetaxa.label.calibration import Calibration, Temperatures

if TYPE_CHECKING:
    from tracetaxa.label.kinds import Indices, Kinds
    from tracetaxa.label.ridge import Scores

Array = npt.NDArray[Any]

_JUST_BELOW = 0.99


@dataclass(frozen=True, slots=True)
class Verdicts:
    """On n traces, (n,) each."""

    category: Array
    leaf: Array
    """The likeliest leaf of that category; -1 where it is not likely enough."""
    confidence: Array
    """Chance that the category is right."""
    likeness: Array
    """To the labelled trace that it is most like, 0 to 1."""
    nearest: Array
    """The place of that one; -1 where nothing is alike."""


def judge(
    scores: Scores, alike: Array, kinds: Kinds, calibration: Calibration, least_subcategory_confidence: float
) -> Verdicts:
    """`alike` is of each trace with each labelled one, (n, labelled)."""
    rows = np.arange(len(scores.category))
    chances = calibration.category.chances(scores.category, kinds.best_leaf(scores.leaf))
    category = chances.argmax(axis=1)
    below = calibration.subcategory.chances(_siblings(scores.sibling, category, kinds), scores.leaf)
    leaf = below.argmax(axis=1)
    leaf = np.where(below[rows, leaf] >= least_subcategory_confidence, leaf, -1)
    nearest = alike.argmax(axis=1)
    likeness = alike[rows, nearest]
    return Verdicts(category, leaf, chances[rows, category], likeness, np.where(likeness > 0, nearest, -1))


def calibrated(
    scores: Scores,
    tops: Indices,
    leaves: Indices,
    kinds: Kinds,
    weights: Array,
    likeness: Array,
    unlike: float,
) -> Calibration:
    """From scores and likeness of labelled traces, by folds that did not see them.

    `unlike` is the share of the labelled traces that count as unlike the others.
    """
    category = Temperatures.fit(scores.category, kinds.best_leaf(scores.leaf), tops, weights)
    choices = np.bincount(kinds.parents, minlength=len(kinds.categories))
    open_ = np.flatnonzero((leaves >= 0) & (choices[tops] > 1))
    siblings = _siblings(scores.sibling[open_], tops[open_], kinds)
    subcategory = Temperatures.fit(siblings, scores.leaf[open_], leaves[open_], weights[open_])
    # Likeness comes in steps: those on the step itself are not below it for a rounding.
    least = _JUST_BELOW * float(np.quantile(likeness, unlike)) if unlike > 0 else 0.0
    return Calibration(category, subcategory, least)


def _siblings(scores: Array, category: Indices, kinds: Kinds) -> Array:
    """Scores of the leaves of a category, -inf for the others: (n, leaves)."""
    return np.where(kinds.parents[None, :] == category[:, None], scores, -np.inf)
