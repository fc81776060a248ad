"""Ranks against the co-ranking matrix written out, and against scikit-learn."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ortho_group
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from threadpoolctl import threadpool_limits

from manifoldgen.metrics import (
    _ranks,
    continuity,
    coranking_curve,
    neighbor_recall,
    trustworthiness,
)
from manifoldgen.neighbors import _distances

BY_NEIGHBORS = [trustworthiness, continuity, neighbor_recall]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, so that small samples take several."""
    monkeypatch.setattr(_distances, "_BLOCK", 300)
    monkeypatch.setattr(_ranks, "_BLOCK", 500)
    monkeypatch.setattr(_ranks, "_ROWS", 16)


def coranking_matrix(X, Z):
    """Count the pairs by rank in X and rank in Z, ties to the lower index."""
    n = len(X)
    ranks = []
    for rows in (X, Z):
        rows = np.asarray(rows, dtype=np.float64)
        squared = np.square(rows[:, np.newaxis] - rows).sum(axis=-1)
        np.fill_diagonal(squared, np.inf)
        order = squared.argsort(axis=1, kind="stable")
        ranks.append(order.argsort(axis=1))
    matrix = np.zeros((n, n), dtype=int)
    np.add.at(matrix, tuple(ranks), 1)
    return matrix[:-1, :-1]  # the last rank is of the row itself


def brute_trustworthiness(matrix, k):
    n = len(matrix) + 1
    intruders = matrix[k:, :k].sum(axis=1) @ np.arange(1, n - k)
    return 1 - 2 * intruders / (n * k * (2 * n - 3 * k - 1))


def brute_recall(matrix, k):
    return matrix[:k, :k].sum() / (k * (len(matrix) + 1))


def maps():
    """Yield data and coordinates with ties and near-ties of every kind."""
    rng = np.random.RandomState(0)
    X = rng.randn(70, 5)
    yield "noise", X, X[:, :2] + 0.5 * rng.randn(70, 2)
    grid = rng.randint(0, 4, size=(70, 3))
    yield "grid", grid, grid[:, :2]
    yield "tenths", grid / 10, grid[:, :2] / 10
    yield "twins", np.vstack([X[:35], X[:35]]), np.tile(rng.randn(35, 2), (2, 1))
    yield "collapsed", X, np.zeros((70, 2))
    # steps below the rounding error of |x|^2 + |y|^2 - 2 x.y
    fine = 1e6 + 2.0**-20 * rng.randint(0, 8, size=(70, 3))
    yield "fine", fine, fine[:, :1]
    huge = 2.0**30 * grid + rng.randint(0, 2, size=(70, 3))
    yield "huge", huge, huge[:, :1]
    yield "bytes", rng.randint(0, 256, size=(70, 2, 3)).astype(np.uint8), X[:, 0:1]


MAPS = [pytest.param(X.reshape(len(X), -1), Z, id=name) for name, X, Z in maps()]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 7, 34])
@pytest.mark.parametrize(("X", "Z"), MAPS)
def test_figures_are_those_of_the_coranking_matrix(X, Z, k):
    matrix = coranking_matrix(X, Z)
    expected = brute_trustworthiness(matrix, k)
    assert trustworthiness(X, Z, n_neighbors=k) == pytest.approx(expected, abs=1e-14)
    expected = brute_trustworthiness(matrix.T, k)
    assert continuity(X, Z, n_neighbors=k) == pytest.approx(expected, abs=1e-14)
    expected = brute_recall(matrix, k)
    assert neighbor_recall(X, Z, n_neighbors=k) == pytest.approx(expected, abs=1e-14)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("X", "Z"), MAPS)
def test_the_curve_is_that_of_the_coranking_matrix_at_every_size(X, Z):
    matrix, n = coranking_matrix(X, Z), len(X)
    curve = coranking_curve(X, Z)
    sizes = np.arange(1, n - 1)
    q_nx = np.array([brute_recall(matrix, k) for k in sizes])
    r_nx = (q_nx - sizes / (n - 1)) / (1 - sizes / (n - 1))
    assert_array_equal(curve.n_neighbors, sizes)
    assert_allclose(curve.q_nx, q_nx, rtol=1e-13)
    assert_allclose(curve.r_nx, r_nx, atol=1e-13)
    assert curve.auc == pytest.approx((r_nx / sizes).sum() / (1 / sizes).sum())
    part = coranking_curve(X, Z, max_neighbors=20)
    assert_array_equal(part.n_neighbors, sizes[:20])
    assert_array_equal(part.q_nx, curve.q_nx[:20])
    assert_array_equal(part.r_nx, curve.r_nx[:20])
    expected = (r_nx / sizes)[:20].sum() / (1 / sizes[:20]).sum()
    assert part.auc == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 5, 15])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_trustworthiness_is_scikit_learns(k, dtype):
    rng = np.random.RandomState(1)
    X = rng.randn(1200, 30).astype(dtype)
    Z = (X[:, :2] + rng.randn(1200, 2)).astype(dtype)
    # scikit-learn itself would take its distances in float32
    wide_X, wide_Z = X.astype(np.float64), Z.astype(np.float64)
    expected = sklearn_trustworthiness(wide_X, wide_Z, n_neighbors=k)
    assert abs(trustworthiness(X, Z, n_neighbors=k) - expected) < 1e-9
    expected = sklearn_trustworthiness(wide_Z, wide_X, n_neighbors=k)
    assert abs(continuity(X, Z, n_neighbors=k) - expected) < 1e-9


def test_twins_in_data_and_map_agree_with_scikit_learn():
    # The first neighbour is the twin and all others come in twos: with an odd number
    # of them no two are parted, so their order does not matter.
    rng = np.random.RandomState(2)
    X, Z = np.tile(rng.randn(100, 4), (2, 1)), np.tile(rng.randn(100, 2), (2, 1))
    expected = sklearn_trustworthiness(X, Z, n_neighbors=15)
    assert abs(trustworthiness(X, Z, n_neighbors=15) - expected) < 1e-9


def test_three_rows_by_hand():
    # In Z the nearest of rows 0, 1, 2 are 2, 2, 0 (a tie with 1), in X second nearest;
    # in X they are 1, 0, 1, in Z second nearest, the last by the same tie.
    X, Z = [[0.0], [1.0], [3.0]], [[0.0], [2.0], [1.0]]
    assert [figure(X, Z, n_neighbors=1) for figure in BY_NEIGHBORS] == [0.0, 0.0, 0.0]
    curve = coranking_curve(X, Z)
    assert (curve.q_nx.tolist(), curve.r_nx.tolist(), curve.auc) == ([0.0], [-1.0], -1)


@pytest.mark.parametrize(("X", "Z"), MAPS)
def test_a_map_that_changes_nothing_is_perfect(X, Z):
    for rows in (X, Z):
        assert [figure(rows, rows) for figure in BY_NEIGHBORS] == [1.0, 1.0, 1.0]
        curve = coranking_curve(rows, rows)
        assert_array_equal(curve.r_nx, 1.0)
        assert curve.auc == pytest.approx(1.0)


def test_moving_turning_and_scaling_change_nothing():
    rng = np.random.RandomState(3)
    X = rng.randn(300, 4)
    turned = 5 + 1e-3 * X @ ortho_group.rvs(4, random_state=rng)
    assert [figure(X, turned) for figure in BY_NEIGHBORS] == [1.0, 1.0, 1.0]


def test_a_random_map_is_near_chance():
    n, k = 1500, 15
    rng = np.random.RandomState(4)
    X = rng.randn(n, 3)
    Z = X[rng.permutation(n)]
    # A rank is uniform over 1..n - 1: E max(0, r - k) = (n - 1 - k)(n - k) / 2(n - 1).
    chance = 1 - (n - 1 - k) * (n - k) / ((n - 1) * (2 * n - 3 * k - 1))
    # 22,500 ranks with a spread of n / sqrt(12), over n: 0.002
    assert trustworthiness(X, Z) == pytest.approx(chance, abs=0.008)
    assert continuity(X, Z) == pytest.approx(chance, abs=0.008)
    # 22,500 draws that hit with p = 0.01: 0.0007
    assert neighbor_recall(X, Z) == pytest.approx(k / (n - 1), abs=0.0028)
    assert abs(coranking_curve(X, Z).auc) < 0.01


def test_what_is_torn_and_what_is_laid_on_each_other_are_told_apart():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    cut, flat = angle[:, np.newaxis], circle[:, :1]
    assert trustworthiness(circle, cut) > continuity(circle, cut) + 0.01
    assert continuity(circle, flat) > trustworthiness(circle, flat) + 0.1


def test_images_and_frames_are_rows():
    rng = np.random.RandomState(5)
    images, Z = rng.rand(40, 2, 3, 3), rng.rand(40, 2)
    rows, frame = images.reshape(40, -1), pd.DataFrame(Z)
    for figure in (*BY_NEIGHBORS, lambda X, Z: coranking_curve(X, Z).auc):
        assert figure(images, frame) == figure(rows, Z)


def test_threads_change_no_bit():
    rng = np.random.RandomState(6)
    X, Z = rng.randn(2500, 6), rng.randn(2500, 2)
    with threadpool_limits(1):
        one = trustworthiness(X, Z), coranking_curve(X[:800], Z[:800])
    with threadpool_limits(2):
        two = trustworthiness(X, Z), coranking_curve(X[:800], Z[:800])
    assert one[0] == two[0]
    assert_array_equal(one[1].q_nx, two[1].q_nx)


@pytest.mark.parametrize("figure", [*BY_NEIGHBORS, coranking_curve])
def test_memory_is_a_few_blocks(figure, monkeypatch):
    monkeypatch.setattr(_distances, "_BLOCK", 2**16)
    monkeypatch.setattr(_ranks, "_BLOCK", 2**15)
    X = np.random.RandomState(7).randn(3000, 4)
    tracemalloc.start()
    figure(X, X[:, :2])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 2**24  # a whole matrix of distances takes 72 MB


@pytest.mark.parametrize("figure", [*BY_NEIGHBORS, coranking_curve])
def test_bad_rows_are_refused(figure):
    X = np.random.RandomState(8).randn(40, 3)
    with pytest.raises(ValueError, match="as many rows as each other, got 40 and 39"):
        figure(X, X[:39])
    with pytest.raises(ValueError, match="Input Z contains NaN"):
        figure(X, np.where(X == X[3, 1], np.nan, X))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        figure(np.where(X == X[3, 1], np.inf, X), X)
    with pytest.raises(ValueError, match=r"X must hold values up to 1e150, .* 1e\+200"):
        figure(np.where(X == X[3, 1], 1e200, X), X)
    with pytest.raises(ValueError, match="Expected 2D array"):
        figure(X, X[:, 0])


@pytest.mark.parametrize(
    ("figure", "most"), [(trustworthiness, 19), (continuity, 19), (neighbor_recall, 39)]
)
def test_bounds_of_the_neighbours_are_explained(figure, most):
    X = np.random.RandomState(9).randn(40, 3)
    assert 0 < figure(X, X[:, :1], n_neighbors=most) <= 1
    match = f"n_neighbors must be an int between 1 and {most}, got {most + 1}"
    with pytest.raises(ValueError, match=match):
        figure(X, X, n_neighbors=most + 1)
    with pytest.raises(TypeError, match="n_neighbors must be an int"):
        figure(X, X, n_neighbors=2.0)


def test_bounds_of_the_curve_are_explained():
    X = np.random.RandomState(10).randn(40, 3)
    with pytest.raises(ValueError, match="max_neighbors must be an int between 1 and"):
        coranking_curve(X, X, max_neighbors=39)
    with pytest.raises(ValueError, match="minimum of 3 is required"):
        coranking_curve(X[:2], X[:2])
