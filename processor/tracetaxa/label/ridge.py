"""Regularized least-squares classification with a kernel (Rifkin, Yeo and Poggio 2003).

One linear system with a column for each kind: as accurate on text as support vector machines, solved exactly,
and what folds that left a trace out say of it costs no more than the folds' own systems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

if TYPE_CHECKING:
    from tracetaxa.label.kinds import Indices, Kinds

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Scores:
    """Of n traces: each about 1 for the right kind and 0 for others, less where nothing is known."""

    category: Array
    """(n, categories)."""
    leaf: Array
    """(n, leaves): each leaf told apart from all traces."""
    sibling: Array
    """(n, leaves): each leaf told apart from the others of its category."""

    @classmethod
    def split(cls, columns: Array, kinds: Kinds) -> Scores:
        k, leaves = len(kinds.categories), len(kinds.leaves)
        return cls(columns[:, :k], columns[:, k : k + leaves], columns[:, k + leaves :])


@dataclass(frozen=True, slots=True)
class Machine:
    """Scores are `kernel @ coefficients + offsets`; columns are those of `Scores`, side by side."""

    coefficients: Array
    """(labelled, categories + 2 leaves)."""
    offsets: Array
    """(categories + 2 leaves): the share of each kind, which is what a trace like no other gets."""

    @classmethod
    def fit(cls, kernel: Array, tops: Indices, leaves: Indices, kinds: Kinds, ridge: float) -> Machine:
        """`kernel` is (n, n); `tops` and `leaves` are targets, -1 for none of the kinds."""
        categories, leaf_count = len(kinds.categories), len(kinds.leaves)
        coefficients = np.zeros((len(tops), categories + 2 * leaf_count))
        offsets = np.zeros(categories + 2 * leaf_count)
        apart = np.hstack([one_hot(tops, categories), one_hot(leaves, leaf_count)])
        offsets[: apart.shape[1]] = apart.mean(axis=0)
        coefficients[:, : apart.shape[1]] = _solve(kernel, apart, ridge)
        for category in range(categories):
            columns = np.flatnonzero(kinds.parents == category)
            members = np.flatnonzero(tops == category)
            if len(columns) > 1 and len(members):
                among = one_hot(leaves[members], leaf_count)[:, columns]
                place = categories + leaf_count + columns
                offsets[place] = among.mean(axis=0)
                within = kernel[np.ix_(members, members)]
                coefficients[np.ix_(members, place)] = _solve(within, among, ridge)
        return cls(coefficients.astype(np.float32), offsets.astype(np.float32))

    def scores(self, kernel: Array) -> Array:
        """From (m, n) to (m, columns)."""
        columns: Array = kernel @ self.coefficients + self.offsets
        return columns


def one_hot(places: Indices, columns: int) -> Array:
    """(n, columns); a row of zeros for -1."""
    hot: Array = (places[:, None] == np.arange(columns)).astype(np.float64)
    return hot


def folds_of(leaves: Indices, folds: int, rng: np.random.Generator) -> Indices:
    """A fold for each trace, at random but so that each has its part of every kind."""
    order = np.lexsort((rng.random(len(leaves)), leaves))
    fold = np.empty(len(leaves), dtype=np.int64)
    fold[order] = np.arange(len(leaves)) % folds
    return fold


def squared_error(kernel: Array, tops: Indices, categories: int, fold: Indices, ridge: float) -> float:
    """Mean over the traces, of the scores of categories by folds that did not see them."""
    targets = one_hot(tops, categories)
    total = 0.0
    for held in range(int(fold.max()) + 1):
        seen, out = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        share = targets[seen].mean(axis=0)
        told = kernel[np.ix_(out, seen)] @ _solve(kernel[np.ix_(seen, seen)], targets[seen], ridge) + share
        total += float(np.square(told - targets[out]).sum())
    return total / len(tops)


def cross_scores(
    kernel: Array, tops: Indices, leaves: Indices, kinds: Kinds, fold: Indices, ridge: float
) -> Array:
    """Scores of each trace by a machine that did not see its fold, (n, columns)."""
    columns = np.zeros((len(tops), len(kinds.categories) + 2 * len(kinds.leaves)), dtype=np.float32)
    for held in range(int(fold.max()) + 1):
        seen, out = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        machine = Machine.fit(kernel[np.ix_(seen, seen)], tops[seen], leaves[seen], kinds, ridge)
        columns[out] = machine.scores(kernel[np.ix_(out, seen)])
    return columns


def _solve(kernel: Array, targets: Array, ridge: float) -> Array:
    """Coefficients for what targets have beyond their share."""
    regular = kernel.astype(np.float64)
    regular[np.diag_indices_from(regular)] += ridge
    solved: Array = cho_solve(cho_factor(regular, overwrite_a=True), targets - targets.mean(axis=0))
    return solved
