"""Whether one rendition of the same documents tells a label as well as another.

The classifier is TF-IDF of words and word pairs with logistic regression (words with digits are left out: ids
tell tasks apart, not kinds). Cross-validation keeps every group on one side of each split, the
two renditions share the splits, and the interval of the difference of the areas under the ROC curve comes
from a bootstrap of whole groups (Efron and Tibshirani 1993; Field and Welsh 2007).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

FOLDS = 5
INNER_FOLDS = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """Areas under the ROC curve, and the 95 % interval of the first less the second."""

    first: float
    second: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.first - self.second


def counts(texts: Sequence[str]) -> Any:
    """Words and word pairs that at least five texts have, (texts, features), sparse."""
    return CountVectorizer(ngram_range=(1, 2), min_df=5, token_pattern=r"(?u)\b[^\W\d]\w+\b").fit_transform(
        texts
    )


def scores(features: Any, label: Array, groups: Array, seed: int, strengths: Sequence[float]) -> Array:
    """For each document what a model says that has not seen its group, (n,), comparable over folds.

    Of several `strengths` (inverse regularisation) each fold takes the best of its own training part.
    """
    told = np.zeros(len(label))
    splits = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, label, groups)
    for train, test in splits:
        best = strengths[0]
        if len(strengths) > 1:
            best = _best(strengths, features[train], label[train], groups[train], seed)
        (given,) = _decide(features[train], label[train], features[test], [best])
        told[test] = (given - given.mean()) / (given.std() or 1.0)
    return told


def compare(
    first: Any,
    second: Any,
    labels: Sequence[Array],
    groups: Array,
    *,
    repeats: int,
    strengths: Sequence[float],
    draws: int = 2000,
) -> Comparison:
    """Two renditions, by the mean area over one or more labels, over `repeats` different splits."""
    members = np.unique(groups, return_inverse=True)[1]
    drawn = np.random.default_rng(0).multinomial(
        members.max() + 1, np.full(members.max() + 1, 1 / (members.max() + 1)), size=draws
    )
    # The first row is the sample itself.
    weights = np.vstack([np.ones(len(members)), drawn[:, members]])
    areas = []
    for features in (first, second):
        found = [
            area(scores(features, label, groups, seed, strengths), label, weights)
            for label in labels
            for seed in range(repeats)
        ]
        areas.append(np.nanmean(found, axis=0))
    low, high = np.quantile((areas[0] - areas[1])[1:], [0.025, 0.975])
    return Comparison(float(areas[0][0]), float(areas[1][0]), float(low), float(high))


def area(told: Array, label: Array, weights: Array) -> Array:
    """Area under the ROC curve for each row of document weights, (rows,)."""
    order = np.argsort(told, kind="stable")
    positive = weights[:, order] * label[order]
    negative = weights[:, order] * ~label[order]
    with np.errstate(invalid="ignore"):
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return np.where(pairs > 0, (positive * np.cumsum(negative, axis=1)).sum(axis=1) / pairs, np.nan)


def _best(strengths: Sequence[float], features: Any, label: Array, groups: Array, seed: int) -> float:
    """The strength with the best mean area over inner folds."""
    splitter = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed)
    found = []
    for train, test in splitter.split(features, label, groups):
        given = _decide(features[train], label[train], features[test], strengths)
        found.append([area(told, label[test], np.ones((1, len(test))))[0] for told in given])
    return strengths[int(np.argmax(np.nanmean(found, axis=0)))]


def _decide(train: Any, label: Array, test: Any, strengths: Sequence[float]) -> list[Array]:
    """What models of each strength, taught by `train`, say of `test`."""
    weighting = TfidfTransformer(sublinear_tf=True).fit(train)
    taught, asked = weighting.transform(train), weighting.transform(test)
    told = []
    for strength in strengths:
        model = LogisticRegression(C=strength, class_weight="balanced", solver="liblinear", random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(taught, label)
        told.append(model.decision_function(asked))
    return told
