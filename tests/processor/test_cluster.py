from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the [local] extra is not installed")

from sklearn.metrics import adjusted_mutual_info_score

from tracetaxa.analyze.local.cluster import (
    Matrix,
    Neighbourhood,
    Reach,
    Space,
    _principal,
    clusters,
    nearest,
    renumbered,
    small_clusters,
    smoothed,
    unit,
)


def blobs(
    sizes: list[int], spread: float = 0.6, dimensions: int = 100, seed: int = 0
) -> tuple[Matrix, Matrix]:
    """Unit vectors around random centres, and the centre of each."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centres = unit(rng.normal(size=(len(sizes), dimensions)))
    points = unit(centres[truth] + spread * rng.normal(size=(len(truth), dimensions)) / np.sqrt(dimensions))
    order = rng.permutation(len(truth))
    return points[order], truth[order]


def test_nearest_is_what_sorting_finds() -> None:
    points, _ = blobs([40, 60])
    likeness, rows = nearest(points, points, 5, skip=np.arange(100))
    table = points @ points.T
    np.fill_diagonal(table, -np.inf)
    np.testing.assert_allclose(likeness, -np.sort(-table, axis=1)[:, :5], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(table, rows, axis=1), likeness, atol=1e-6)


def test_more_neighbours_than_there_are() -> None:
    points, _ = blobs([3])
    assert nearest(points, points, 10)[1].shape == (3, 3)


@pytest.mark.parametrize("count", [2, 60, 99, 100, 140, 300])
def test_principal_directions_are_those_of_a_decomposition(count: int) -> None:
    """Fewer points than dimensions are looked at from the other side."""
    points, _ = blobs([count // 2, count - count // 2], spread=0.4)
    centred = (points - points.mean(axis=0)).astype(np.float32)
    axes = _principal(centred)
    _, sizes, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    true = directions[sizes**2 > 1e-6 * sizes[0] ** 2].T
    np.testing.assert_allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-6)
    np.testing.assert_allclose(axes @ axes.T, true @ true.T, atol=1e-6)


def test_points_without_spread_have_no_direction() -> None:
    assert not _principal(np.zeros((5, 100))).any()
    assert not _principal(np.zeros((500, 100))).any()


def test_unequal_blobs_are_found_with_their_number() -> None:
    points, truth = blobs([120, 100, 70, 50, 30])
    made = clusters(Space.fit(points, 0).place(points), 10, 0)
    labels, apart = made.labels, made.silhouette
    assert labels.max() + 1 == 5
    assert adjusted_mutual_info_score(truth, labels) > 0.95
    assert apart > 0.2


def test_the_same_seed_gives_the_same_clusters() -> None:
    points, _ = blobs([80, 50, 40], spread=0.6)
    first, again = (clusters(Space.fit(points, 3).place(points), 8, 3) for _ in range(2))
    assert np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.steadiness, again.steadiness)
    assert first.silhouette == again.silhouette


def test_what_comes_together_each_time_is_steady() -> None:
    apart, _ = blobs([80, 50, 40], spread=0.05)
    clear = clusters(Space.fit(apart, 0).place(apart), 8, 0)
    assert clear.labels.max() + 1 == 3
    assert clear.steadiness.min() > 0.99
    noise = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    vague = clusters(Space.fit(noise, 0).place(noise), 8, 0)
    assert vague.labels.max() >= 1
    assert 0 < vague.steadiness.mean() < 0.8


def test_votes_of_what_is_not_steady_are_not_sure() -> None:
    points, truth = blobs([30, 30])
    steady = np.where(truth == 0, 1.0, 0.5)
    queries = np.full(60, -1)
    _, sure = Neighbourhood(points, truth, np.ones(60)).vote(points, queries)
    labels, less = Neighbourhood(points, truth, steady).vote(points, queries)
    np.testing.assert_allclose(less[labels == 0], sure[labels == 0])
    np.testing.assert_allclose(less[labels == 1], sure[labels == 1] / 2)


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 10**20])
def test_any_integer_is_a_seed(seed: int) -> None:
    points, _ = blobs([30, 30])
    assert clusters(Space.fit(points, seed).place(points), 5, seed).labels.max() + 1 == 2


@pytest.mark.parametrize("most", [1, 2, 3, 50])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 30])
def test_never_more_clusters_than_asked_or_points(count: int, most: int) -> None:
    points, _ = blobs([count])
    labels = clusters(Space.fit(points, 0).place(points), most, 0).labels
    assert len(labels) == count
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1))
    assert labels.max() + 1 <= min(most, count)


@pytest.mark.parametrize("vector", [[0.0, 0.0], [0.6, 0.8]])
def test_identical_points_are_one_cluster(vector: list[float]) -> None:
    points = np.tile(np.array(vector, dtype=np.float32), (50, 1))
    space = Space.fit(points, 0)
    made = clusters(space.place(points), 10, 0)
    labels, apart = made.labels, made.silhouette
    assert set(labels.tolist()) == {0}
    assert apart == 0
    assert set(small_clusters(space.place(points), 0).tolist()) == {0}


def test_smoothing_keeps_unit_length_and_draws_neighbours_together() -> None:
    points, truth = blobs([50, 50], spread=0.8)
    moved = smoothed(points)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-6)
    same = truth[:, None] == truth[None]
    assert (moved @ moved.T)[same].mean() > (points @ points.T)[same].mean()


def test_neighbours_outvote_a_stray() -> None:
    points, truth = blobs([30, 30])
    mislabelled = truth.copy()
    mislabelled[0] = 1 - truth[0]
    labels, sure = Neighbourhood(points, mislabelled, np.ones(60)).vote(points, np.arange(60))
    assert labels.tolist() == truth.tolist()
    assert (sure > 0.7).all()
    assert (sure < 1).all()


def test_nobody_to_vote() -> None:
    none = Neighbourhood(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), np.ones(0))
    labels, sure = none.vote(np.ones((3, 2)), np.full(3, -1))
    assert labels.tolist() == [-1, -1, -1]
    assert sure.tolist() == [0, 0, 0]
    alone = Neighbourhood(np.ones((1, 2)), np.zeros(1, dtype=np.int64), np.ones(1))
    labels, sure = alone.vote(np.ones((1, 2)), np.zeros(1, dtype=np.int64))
    assert (labels.tolist(), sure.tolist()) == ([0], [0.5])


def test_what_is_like_nothing_is_beyond_reach() -> None:
    points, _ = blobs([100, 100], spread=0.6)
    reach = Reach.fit(points)
    strangers = unit(np.random.default_rng(5).normal(size=(20, 100)))
    assert (reach.likeness(strangers, skip=np.full(20, -1)) < reach.least).mean() > 0.9
    assert (reach.likeness(points, skip=np.arange(200)) < reach.least).mean() < 0.02


def test_small_samples_have_no_strangers() -> None:
    points, _ = blobs([4])
    reach = Reach.fit(points)
    assert (reach.likeness(-points, skip=np.full(4, -1)) >= reach.least).all()


def test_renumbered_by_size_without_the_small() -> None:
    assert renumbered(np.array([5, 5, 7, 7, 7, 9]), 2, 3).tolist() == [4, 4, 3, 3, 3, -1]
    assert renumbered(np.array([], dtype=np.int64), 2, 0).tolist() == []
