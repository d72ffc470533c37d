"""Clusters of unit vectors, and how sure one can be of a member.

The steps, each of which pays on real requests (`python -m bench quality`): directions in which near
neighbours differ are shrunk (within-class covariance normalisation, Hatch et al. 2006, with small clusters
in the place of classes); each vector moves towards its neighbours (graph convolution without training,
Zhang et al. 2019); many small clusters are found by k-means and joined by Ward's rule, each counting once,
so that a large kind does not swallow small ones; that is done from several starts, and of categories counts
what most of them agree on (consensus by k-means, Wu et al. 2015); there are as few clusters as have nearly
the best silhouette.
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
SMALL = 20
"""Points in a small cluster, on average."""
_MOST_SMALL = 150
_SILHOUETTES = 2000
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
        axes = _principal(vectors - centre)
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


def _principal(centred: Matrix) -> Matrix:
    """Directions of the largest spread, (d, k), the largest last; fewer than `DIMENSIONS` where others hold
    nothing, which would be blown up to unit length later; one that holds nothing where all are such."""
    exact = centred.astype(np.float64)
    rows, columns = exact.shape
    # The spread of n rows lies in n directions at most, which cost less to find in their inner products.
    few = rows < columns
    values, directions = np.linalg.eigh(exact @ exact.T if few else exact.T @ exact)
    kept = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-6))[-DIMENSIONS:]
    if not len(kept):
        return np.zeros((columns, 1))
    found = exact.T @ directions[:, kept] / np.sqrt(values[kept]) if few else directions[:, kept]
    axes: Matrix = found
    return axes


def small_clusters(points: Matrix, seed: int, restarts: int = 1, size: int = SMALL) -> Matrix:
    """Labels of many small clusters of about `size` points, numbered from 0 without gaps."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(points.round(6), axis=0))
    count = min(_MOST_SMALL, max(len(points) // size, 24), distinct)
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


@dataclass(frozen=True, slots=True)
class Clustering:
    """Points that belong together."""

    labels: Matrix
    """(n,), from 0."""
    silhouette: float
    """0 for a single cluster."""
    steadiness: Matrix
    """(n,), how much of a point's company is in its cluster too when the clustering is made again, 0 to 1."""

    @classmethod
    def single(cls, count: int) -> Clustering:
        return cls(np.zeros(count, dtype=np.int64), 0.0, np.ones(count))


@dataclass(frozen=True, slots=True)
class Method:
    """How clusters are made of the same parts; the values were chosen on CLINC150, and the demo agrees."""

    size: int
    """Points in a small cluster, on average."""
    starts: int
    consensus: bool
    """What most starts agree on, or the start with the best silhouette: a consensus loses small groups."""
    enough: float
    """The fewest clusters whose silhouette is this part of the best one's are enough."""


CATEGORIES = Method(size=20, starts=10, consensus=True, enough=0.96)
SUBCATEGORIES = Method(size=8, starts=5, consensus=False, enough=0.92)


def clusters(points: Matrix, most: int, seed: int, method: Method = CATEGORIES) -> Clustering:
    """At most `most` clusters."""
    from sklearn.metrics import silhouette_score

    single = Clustering.single(len(points))
    if most < 2 or len(points) < 4:
        return single
    near = smoothed(points)
    made = [_joined(near, most, seed + start, method.size) for start in range(method.starts)]
    judged = np.sort(np.random.default_rng(seed % 2**32).permutation(len(points))[:_SILHOUETTES])
    distances = np.sqrt(np.maximum(2 - 2 * points[judged] @ points[judged].T, 0))
    np.fill_diagonal(distances, 0)
    tried: dict[int, Clustering] = {}
    for k in range(2, min(most, len(points) - 1) + 1):
        opinions = [by_count[k] for by_count in made if k in by_count]
        if not opinions:
            break
        for labels in [_consensus(opinions, k, seed)] if method.consensus else opinions:
            if not 1 < len(np.unique(labels[judged])) < len(judged):
                continue
            found = float(silhouette_score(distances, labels[judged], metric="precomputed"))
            count = int(labels.max()) + 1
            if found > tried.get(count, single).silhouette:
                others = [other for other in opinions if other is not labels]
                tried[count] = Clustering(labels, found, _steadiness(labels, others))
    goal = method.enough * max((found.silhouette for found in tried.values()), default=0.0)
    return next((tried[k] for k in sorted(tried) if tried[k].silhouette >= goal), single)


def _joined(near: Matrix, most: int, seed: int, size: int) -> dict[int, Matrix]:
    """Number of clusters → labels: small clusters joined by Ward's rule until so many are left."""
    from scipy.cluster.hierarchy import fcluster, linkage

    groups = small_clusters(near, seed, size=size)
    count = int(groups.max()) + 1
    if count < 2:
        return {}
    tree = linkage(unit(_means(near, groups)), "ward")
    joined = {k: fcluster(tree, k, "maxclust")[groups] for k in range(2, min(most, count) + 1)}
    return {k: np.unique(labels, return_inverse=True)[1].ravel() for k, labels in joined.items()}


def _consensus(opinions: list[Matrix], k: int, seed: int) -> Matrix:
    """At most `k` clusters on which several clusterings agree, labelled from 0 without gaps: k-means on what
    each of them says of a point (Wu et al. 2015)."""
    from sklearn.cluster import KMeans

    said = np.hstack([np.eye(int(labels.max()) + 1, dtype=np.float32)[labels] for labels in opinions])
    distinct, where = np.unique(said, axis=0, return_inverse=True)
    where = where.ravel()
    if len(distinct) <= k:
        return where
    weights = np.bincount(where)
    found = KMeans(k, n_init=5, random_state=seed % 2**32).fit(distinct, sample_weight=weights).labels_
    return np.unique(found[where], return_inverse=True)[1].ravel()


def _steadiness(labels: Matrix, others: list[Matrix]) -> Matrix:
    """Of the points that another clustering puts together with a point, the share with its label; the mean
    over the others, ones without any."""
    if not others:
        return np.ones(len(labels))
    total = np.zeros(len(labels))
    for other in others:
        common = np.zeros((int(labels.max()) + 1, int(other.max()) + 1))
        np.add.at(common, (labels, other), 1.0)
        total += (common / np.maximum(common.sum(axis=0), 1.0))[labels, other]
    return total / len(others)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Labelled points of a space that vote on others."""

    points: Matrix
    labels: Matrix
    """(n,), from 0."""
    steadiness: Matrix
    """(n,), see `Clustering`; ones where nothing is known of it."""

    def vote(self, queries: Matrix, own: Matrix) -> tuple[Matrix, Matrix]:
        """The label that most of the nearest points have, each voting by its likeness, and how sure that is.

        `own` says which point a query is, -1 for none: it votes for itself, but says nothing about sureness,
        which is the others' share of votes, drawn towards one half where few vote, times the steadiness of
        those who voted so. -1 and 0 where nobody can.
        """
        count = len(self.points)
        known = np.flatnonzero(own >= 0)
        others = min(_VOTERS, max(_FEWEST_VOTERS, count // _PER_VOTER), count - (len(known) > 0))
        votes = np.zeros((len(queries), int(self.labels.max()) + 1 if count else 1))
        steady = np.zeros_like(votes)
        if others > 0:
            likeness, rows = nearest(queries, self.points, others, skip=own)
            weights = np.maximum(likeness, 1e-3)
            for column in range(others):
                place = (np.arange(len(queries)), self.labels[rows[:, column]])
                np.add.at(votes, place, weights[:, column])
                np.add.at(steady, place, weights[:, column] * self.steadiness[rows[:, column]])
        with_own = votes.copy()
        with_own[known, self.labels[own[known]]] += 1
        labels = np.where(with_own.any(axis=1), with_own.argmax(axis=1), -1)
        given = np.take_along_axis(votes, np.maximum(labels, 0)[:, None], axis=1).ravel()
        share = given / np.maximum(votes.sum(axis=1), 1e-9)
        lasting = np.take_along_axis(steady, np.maximum(labels, 0)[:, None], axis=1).ravel()
        # Without a single vote for it but its own, nothing speaks against its steadiness.
        lasting = np.where(given > 0, lasting / np.maximum(given, 1e-9), 1.0)
        return labels, np.where(labels < 0, 0.0, (share * others + 0.5) / (others + 1) * lasting)


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
