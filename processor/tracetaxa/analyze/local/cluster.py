"""Clusters of unit vectors, and how sure one can be of a member.

The steps, each of which pays on real requests (`bench/quality_local.py`): directions in which near
neighbours differ are shrunk (within-class covariance normalisation, Hatch et al. 2006, with small clusters
in the place of classes); each vector moves towards its neighbours (graph convolution without training,
Zhang et al. 2019); many small clusters are found by k-means and joined by Ward's rule, each counting once,
so that a large kind does not swallow small ones; there are as few clusters as have nearly the best
silhouette.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[Any]

_BLOCK = 1024


def unit(vectors: Matrix) -> Matrix:
    """Rows of length 1; zero rows stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Matrix = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-9)
    return scaled


def nearest(queries: Matrix, among: Matrix, k: int, *, skip: Matrix | None = None) -> tuple[Matrix, Matrix]:
    """Inner products and row numbers of the `k` nearest rows of `among`, best first: both (n, k).

    `skip` holds one row number a query that is left out (itself), -1 for none.
    """
    k = min(k, len(among))
    likeness = np.zeros((len(queries), k), dtype=np.float32)
    rows = np.zeros((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK] @ among.T
        if skip is not None:
            own = skip[start : start + _BLOCK]
            known = np.flatnonzero(own >= 0)
            block[known, own[known]] = -np.inf
        best = np.argpartition(-block, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(block, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        rows[start : start + _BLOCK] = np.take_along_axis(best, order, axis=1)
        likeness[start : start + _BLOCK] = np.take_along_axis(values, order, axis=1)
    return likeness, rows


DIMENSIONS = 128
_NEIGHBOURS = 10
_STEPS = 2
_SHRINKAGE = 1.0
_SMALL = 20
"""Traces in a small cluster, on average."""
_MOST_SMALL = 150
_RESTARTS = 5
_SILHOUETTES = 2000
_ENOUGH = 0.92
"""The fewest clusters whose silhouette is this part of the best one's are enough."""
_VOTERS, _FEWEST_VOTERS, _PER_VOTER = 15, 3, 12
"""Neighbours that vote: one for so many points, within bounds, so that small clusters can win."""
_FAR_NEIGHBOURS = 5
_FAR = 0.53
"""Part of the median likeness below which a trace is like no other. On CLINC150 with 5 % requests that are
out of every scope, likeness tells these from the rest with an AUROC of 0.95, and the precision here is
about 0.55."""
_FEWEST_TO_JUDGE = 30


@dataclass(frozen=True, slots=True)
class Space:
    """Where clusters are looked for: principal components, with the spread among near neighbours shrunk."""

    centre: Matrix
    axes: Matrix

    @classmethod
    def fit(cls, vectors: Matrix, seed: int) -> Space:
        centre = vectors.mean(axis=0)
        values, directions = np.linalg.eigh((vectors - centre).T.astype(np.float64) @ (vectors - centre))
        # Directions that hold nothing would be blown up to unit length below.
        kept = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-6))[-DIMENSIONS:]
        axes = directions[:, kept] if len(kept) else np.zeros((vectors.shape[1], 1))
        points = unit((vectors - centre) @ axes)
        groups = small_clusters(points, seed)
        inner = points - _means(points, groups)[groups]
        within = inner.T @ inner / max(len(points), 1)
        spread = np.trace(within) / max(len(within), 1)
        if spread > 1e-9:
            values, directions = np.linalg.eigh(within + _SHRINKAGE * spread * np.eye(len(within)))
            axes = axes @ (directions * values**-0.5) @ directions.T
        return cls(centre, axes)

    def place(self, vectors: Matrix) -> Matrix:
        """Unit vectors of the space, one a row."""
        return unit((vectors - self.centre) @ self.axes)


def small_clusters(points: Matrix, seed: int, restarts: int = 1) -> Matrix:
    """Labels of many small clusters, numbered from 0 without gaps."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(points.round(6), axis=0))
    count = min(_MOST_SMALL, max(len(points) // _SMALL, 24), distinct)
    if count <= 1:
        return np.zeros(len(points), dtype=np.int64)
    labels = KMeans(count, n_init=restarts, random_state=seed % 2**32).fit(points).labels_
    return np.unique(labels, return_inverse=True)[1].ravel()


def smoothed(points: Matrix) -> Matrix:
    """Each point moved towards its neighbours, `_STEPS` times."""
    import scipy.sparse as sparse

    count = len(points)
    k = min(_NEIGHBOURS, count - 1)
    if k < 1:
        return points
    likeness, rows = nearest(points, points, k, skip=np.arange(count))
    edges = sparse.csr_matrix(
        (np.maximum(likeness, 0).ravel(), (np.repeat(np.arange(count), k), rows.ravel())),
        shape=(count, count),
    )
    edges = edges.maximum(edges.T) + sparse.eye(count)
    degree = sparse.diags(1 / np.sqrt(np.asarray(edges.sum(axis=1)).ravel()))
    step = degree @ edges @ degree
    for _ in range(_STEPS):
        points = step @ points
    return unit(points)


def clusters(points: Matrix, most: int, seed: int) -> tuple[Matrix, float]:
    """Labels from 0 of at most `most` clusters, and their silhouette; one cluster has silhouette 0."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from sklearn.metrics import silhouette_score

    tried = {1: (0.0, np.zeros(len(points), dtype=np.int64))}
    if most < 2 or len(points) < 4:
        return tried[1][1], 0.0
    near = smoothed(points)
    judged = np.sort(np.random.default_rng(seed % 2**32).permutation(len(points))[:_SILHOUETTES])
    distances = np.sqrt(np.maximum(2 - 2 * points[judged] @ points[judged].T, 0))
    np.fill_diagonal(distances, 0)
    for restart in range(_RESTARTS):
        groups = small_clusters(near, seed + restart)
        count = int(groups.max()) + 1
        if count < 2:
            continue
        tree = linkage(unit(_means(near, groups)), "ward")
        for k in range(2, min(most, count, len(points) - 1) + 1):
            joined = fcluster(tree, k, "maxclust")[groups] - 1
            labels = np.unique(joined, return_inverse=True)[1].ravel()
            if not 1 < len(np.unique(labels[judged])) < len(judged):
                continue
            found = float(silhouette_score(distances, labels[judged], metric="precomputed"))
            count_found = int(labels.max()) + 1
            if found > tried.get(count_found, (0.0,))[0]:
                tried[count_found] = (found, labels)
    best = max(found for found, _ in tried.values())
    found, labels = next(tried[k] for k in sorted(tried) if tried[k][0] >= _ENOUGH * best)
    return labels, found


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Labelled points of a space that vote on others."""

    points: Matrix
    labels: Matrix
    """(n,), from 0."""

    def vote(self, queries: Matrix, own: Matrix) -> tuple[Matrix, Matrix]:
        """The label that most of the nearest points have, each voting by its likeness, and how sure that is.

        `own` says which point a query is, -1 for none: it votes for itself, but says nothing about sureness,
        which is the others' share of votes, drawn towards one half where few vote. -1 and 0 where nobody can.
        """
        count = len(self.points)
        known = np.flatnonzero(own >= 0)
        others = min(_VOTERS, max(_FEWEST_VOTERS, count // _PER_VOTER), count - (len(known) > 0))
        votes = np.zeros((len(queries), int(self.labels.max()) + 1 if count else 1))
        if others > 0:
            likeness, rows = nearest(queries, self.points, others, skip=own)
            weights = np.maximum(likeness, 1e-3)
            for column in range(others):
                np.add.at(votes, (np.arange(len(queries)), self.labels[rows[:, column]]), weights[:, column])
        with_own = votes.copy()
        with_own[known, self.labels[own[known]]] += 1
        labels = np.where(with_own.any(axis=1), with_own.argmax(axis=1), -1)
        given = np.take_along_axis(votes, np.maximum(labels, 0)[:, None], axis=1).ravel()
        share = given / np.maximum(votes.sum(axis=1), 1e-9)
        return labels, np.where(labels < 0, 0.0, (share * others + 0.5) / (others + 1))


@dataclass(frozen=True, slots=True)
class Reach:
    """How like each other traces usually are, to tell one that is like none."""

    centre: Matrix
    points: Matrix
    least: float

    @classmethod
    def fit(cls, vectors: Matrix) -> Reach:
        centre = vectors.mean(axis=0)
        reach = cls(centre, unit(vectors - centre), -1.0)
        if len(vectors) < _FEWEST_TO_JUDGE:
            return reach
        usual = float(np.median(reach.likeness(vectors, skip=np.arange(len(vectors)))))
        return cls(centre, reach.points, _FAR * usual)

    def likeness(self, vectors: Matrix, *, skip: Matrix) -> Matrix:
        """Mean cosine with the nearest traces of the sample, (n,)."""
        if len(self.points) <= _FAR_NEIGHBOURS:
            return np.ones(len(vectors))
        likeness, _ = nearest(unit(vectors - self.centre), self.points, _FAR_NEIGHBOURS, skip=skip)
        return np.asarray(likeness.mean(axis=1))


def renumbered(labels: Matrix, smallest: int, first: int) -> Matrix:
    """Labels from `first` on, the largest cluster first; members of clusters below `smallest` get -1."""
    values, counts = np.unique(labels, return_counts=True)
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i] >= smallest]
    numbers = {int(values[i]): first + n for n, i in enumerate(order)}
    return np.array([numbers.get(int(label), -1) for label in labels], dtype=np.int64)


def _means(points: Matrix, groups: Matrix) -> Matrix:
    sums = np.zeros((int(groups.max()) + 1, points.shape[1]), dtype=points.dtype)
    np.add.at(sums, groups, points)
    means: Matrix = sums / np.bincount(groups)[:, None]
    return means
