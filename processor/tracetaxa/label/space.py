"""Labelled traces as points of a space, and what it takes to compare others with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from tracetaxa.label.features import (
    BUCKET_BITS,
    GROUPS,
    REQUEST_CHARACTERS,
    VIEWS,
    Counts,
    Lexicon,
    Parts,
    parts_of,
    vectors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse

    from tracetaxa.records import TraceRow

Array = npt.NDArray[Any]

WORDS = tuple(GROUPS.index(name) for name in ("request words", "answer words", "action words"))
"""Groups that say which labelled trace another one is like."""
_RARE = 0.2
"""Words in more of the labelled traces than this make none of them alike, and cost the most to compare."""


class Embedder(Protocol):
    """Texts to vectors that do not depend on the texts they are embedded with."""

    @property
    def name(self) -> str:
        """What makes two of them the same."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), d), rows of length 1."""


@dataclass(frozen=True, slots=True)
class Points:
    """n traces."""

    features: sparse.csr_array
    """(n, f); a group's part of a row has length 1 with what nobody knows of it."""
    present: Array
    """(n, groups + views): 1 where a trace has anything of a group or view, else 0."""
    views: Array
    """(views, n, d), of length 1 or zero; d is 0 without an embedder."""

    def rounded(self) -> Points:
        """As an archive keeps them: half precision is more than text has to say."""
        features = self.features.copy()
        features.data = features.data.astype(np.float16).astype(np.float32)
        return replace(self, features=features, views=self.views.astype(np.float16).astype(np.float32))


class Space:
    """Places traces by the features that labelled ones share."""

    def __init__(self, lexicon: Lexicon, embedder: Embedder | None) -> None:
        self.lexicon = lexicon
        self._embedder = embedder
        self._table = lexicon.table()

    def encode(self, traces: Sequence[TraceRow]) -> Points:
        parts = [parts_of(row) for row in traces]
        return self.place(parts, Counts.of(parts))

    def place(self, parts: Sequence[Parts], counts: Counts) -> Points:
        """The same, for traces whose features are counted already."""
        features, present = vectors(counts, self.lexicon, self._table)
        views = _embedded(parts, self._embedder)
        return Points(features, np.hstack([present, views.any(axis=2).T]).astype(np.float32), views)


def _embedded(parts: Sequence[Parts], embedder: Embedder | None) -> Array:
    """(views, n, d), each distinct text embedded once."""
    if embedder is None:
        return np.zeros((len(VIEWS), len(parts), 0), dtype=np.float32)
    asked = [(part.request[:REQUEST_CHARACTERS], part.outcome) for part in parts]
    texts = sorted({text for pair in asked for text in pair if text})
    found = dict(zip(texts, embedder.embed(texts), strict=True)) if texts else {}
    width = len(next(iter(found.values()))) if found else 0
    views = np.zeros((len(VIEWS), len(parts), width), dtype=np.float32)
    for row, pair in enumerate(asked):
        for view, text in enumerate(pair):
            if text:
                views[view, row] = found[text]
    return views


@dataclass(frozen=True, slots=True)
class Mixture:
    """How much each group of features and each view counts: a kernel is the weighted sum of theirs."""

    weights: tuple[float, ...]
    """(groups + views)."""

    def scaled(self, points: Points) -> Mixture:
        """So that the kernel of a trace with itself is 1 on average."""
        mean = float((points.present @ np.array(self.weights)).mean())
        return Mixture(tuple(weight / mean for weight in self.weights)) if mean > 0 else self


MIXTURES = (
    Mixture((1.0, 1.0, 0.3, 0.3, 0.1, 4.0, 0.5)),
    Mixture((1.0, 1.0, 1.0, 1.0, 0.5, 4.0, 2.0)),
    Mixture((0.3, 0.3, 1.0, 1.0, 0.5, 1.0, 2.0)),
)
"""The request decides the kinds (topics, most likely), or all does, or what came of it (failures)."""


def kernels(points: Points, lexicon: Lexicon) -> list[Array | None]:
    """One (n, n) for each group and view; None where no trace has any of it."""
    found: list[Array | None] = []
    group_of = lexicon.keys >> BUCKET_BITS
    for group in range(len(GROUPS)):
        part = points.features[:, np.flatnonzero(group_of == group)]
        found.append((part @ part.T).toarray() if part.nnz else None)
    found += [view @ view.T if view.any() else None for view in points.views]
    return found


def mixed(parts: Sequence[Array | None], mixture: Mixture, traces: int) -> Array:
    """The kernel of a mixture, (n, n)."""
    total = np.zeros((traces, traces), dtype=np.float32)
    for part, weight in zip(parts, mixture.weights, strict=True):
        if part is not None:
            total += np.float32(weight) * part
    return total


class Projection:
    """Kernel times coefficients for traces one at a time, without the kernel: the features' own weights."""

    def __init__(self, points: Points, lexicon: Lexicon, mixture: Mixture, coefficients: Array) -> None:
        """`coefficients` is (labelled, columns)."""
        weights = np.array(mixture.weights, dtype=np.float32)
        of_feature = weights[lexicon.keys >> BUCKET_BITS]
        self._features = points.features.T @ coefficients
        self._features *= of_feature[:, None]
        self._views = [
            weight * (view.T @ coefficients)
            for weight, view in zip(weights[len(GROUPS) :], points.views, strict=True)
        ]

    def __call__(self, points: Points) -> Array:
        """(m, columns)."""
        total: Array = points.features @ self._features
        for view, weights in zip(points.views, self._views, strict=True):
            if view.shape[1] == weights.shape[0]:
                total += view @ weights
        return total


class Likeness:
    """How like the labelled traces others are: the cosine of their rare words, and of their views."""

    def __init__(self, points: Points, lexicon: Lexicon, mixture: Mixture) -> None:
        weights = np.array(mixture.weights, dtype=np.float32)
        counted = np.array([part in WORDS or part >= len(GROUPS) for part in range(len(weights))])
        self._weights = np.where(counted, weights, np.float32(0))
        groups = lexicon.keys >> BUCKET_BITS
        found = np.bincount(points.features.indices, minlength=len(lexicon.keys))
        self._columns = np.flatnonzero(np.isin(groups, WORDS) & (found <= _RARE * points.features.shape[0]))
        self._of_column = self._weights[groups[self._columns]]
        self._labelled = points.features[:, self._columns].T.tocsr()
        self._views = points.views
        self._lengths = self._length(points)

    def __call__(self, points: Points) -> Array:
        """Of each trace with each labelled one, from 0 to 1: (m, n)."""
        part = points.features[:, self._columns]
        part.data *= self._of_column[part.indices]
        alike: Array = (part @ self._labelled).toarray()
        weights = self._weights[len(GROUPS) :]
        for view, labelled, weight in zip(points.views, self._views, weights, strict=True):
            if view.shape[1] == labelled.shape[1]:
                alike += weight * (view @ labelled.T)
        alike /= np.outer(self._length(points), self._lengths)
        return np.clip(alike, 0, 1)

    def _length(self, points: Points) -> Array:
        length: Array = np.sqrt(np.maximum(points.present @ self._weights, np.float32(1e-12)))
        return length
