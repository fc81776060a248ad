"""Nearest neighbours against brute force and scikit-learn."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from manifoldgen import NeighborIndex, nearest_neighbors
from manifoldgen.neighbors import _distances, _index, symmetric_components

DTYPES = [np.float64, np.float32, np.uint8]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, so that small samples take several."""
    monkeypatch.setattr(_distances, "_BLOCK", 500)
    monkeypatch.setattr(_index, "_QUERIES", 8)
    monkeypatch.setattr(_index, "_ROWS", 16)


def brute_force(X, k, queries=None, metric="euclidean"):
    """Sort all distances in float64, ties by the lower index."""
    X = np.asarray(X, dtype=np.float64)
    distances = cdist(X if queries is None else np.asarray(queries, float), X, metric)
    if queries is None:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def assert_nearest(found, expected):
    indices, distances = expected
    assert found.indices.dtype == np.int64
    assert found.distances.dtype == np.float64
    assert_array_equal(found.indices, indices)
    assert_allclose(found.distances, distances, rtol=1e-12, atol=1e-300)


def sample(n, d, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.uint8:
        return rng.integers(0, 256, size=(n, d), dtype=dtype)
    return rng.normal(size=(n, d)).astype(dtype)


# ----------------------------------------------------------------------------- exact


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), [(2, 1, 1), (60, 4, 5), (90, 33, 89)])
def test_the_neighbours_are_those_of_brute_force(n, d, k, dtype):
    X, queries = sample(n, d, dtype), sample(21, d, dtype, seed=1)
    assert_nearest(nearest_neighbors(X, k), brute_force(X, k))
    found = nearest_neighbors(X, k, queries=queries)
    assert_nearest(found, brute_force(X, k, queries))
    assert_nearest(nearest_neighbors(X, n, queries=X), brute_force(X, n, X))


@pytest.mark.parametrize("k", [1, 15, 400])
def test_thousands_of_rows_take_the_bounds_that_few_do_not(k):
    X, queries = sample(9000, 6, np.float32), sample(70, 6, np.float32, seed=1)
    found = nearest_neighbors(X, k, queries=queries)
    assert_nearest(found, brute_force(X, k, queries))


def test_the_neighbours_are_those_of_scikit_learn():
    X = load_digits().data.astype(np.float32)
    expected = NearestNeighbors(n_neighbors=10).fit(X.astype(np.float64)).kneighbors()
    found = nearest_neighbors(X, 10)
    assert_allclose(found.distances, expected[0], rtol=1e-12)
    tied = np.diff(expected[0], append=np.inf) == 0
    tied[:, 1:] |= tied[:, :-1]
    tied[:, -1] = True  # the next one is not known
    assert_array_equal(found.indices[~tied], expected[1][~tied])
    assert (~tied).mean() > 0.8


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 3, 7, 39])
def test_ties_go_to_the_lower_index(k):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, size=(40, 2))  # nine places, so many duplicates
    assert_nearest(nearest_neighbors(X, k), brute_force(X, k))
    queries = rng.integers(0, 6, size=(30, 2)) / 2
    found = nearest_neighbors(X, k, queries=queries)
    assert_nearest(found, brute_force(X, k, queries))


def test_rows_at_one_distance_without_duplicates():
    X = np.eye(300)
    found = nearest_neighbors(X, 4)
    assert_nearest(found, brute_force(X, 4))
    assert_array_equal(found.indices[7], [0, 1, 2, 3])


@pytest.mark.parametrize("d", [1, 3, 100])
@pytest.mark.parametrize("k", [1, 20, 299])
def test_constant_rows_are_neighbours_at_zero(k, d):
    X = np.full((300, d), 0.1, dtype=np.float32)
    found = nearest_neighbors(X, k)
    assert_array_equal(found.distances, 0.0)
    assert_nearest(found, brute_force(X, k))


def test_zeros_of_either_sign_are_one_row():
    X = np.array([[0.0], [-0.0], [1.0]])
    assert_nearest(nearest_neighbors(X, 2), brute_force(X, 2))
    assert_array_equal(NeighborIndex.build(X).query([[-0.0]], 2).indices, [[0, 1]])


def test_a_key_that_two_rows_share_does_not_make_them_one(monkeypatch):
    def same(rows):
        return np.zeros(len(rows), dtype=np.uint64)

    monkeypatch.setattr(_index, "_row_keys", same)
    X = np.array([[3.0, 0.0], [1.0, 0.0], [3.0, 0.0], [2.0, 0.0]])
    assert_nearest(nearest_neighbors(X, 3), brute_force(X, 3))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_offset_takes_away_no_neighbour(dtype):
    X = (sample(400, 5, np.float64) + 1e6).astype(dtype)
    assert_nearest(nearest_neighbors(X, 6), brute_force(X, 6))


def test_clusters_far_apart_are_searched_in_float64():
    rng = np.random.default_rng(0)
    centers = 1e9 * rng.integers(0, 2, size=(3000, 3))
    X = centers + rng.normal(size=(3000, 3))
    index = NeighborIndex.build(X)
    assert index._candidates(X[:256], 5) is None or len(
        index._candidates(X[:256], 5)[0]
    ) > 50 * len(X[:256])
    assert_nearest(index.query_itself(5), brute_force(X, 5))


@pytest.mark.parametrize("scale", [1e-140, 1e-30, 1e30, 1e140])
def test_rows_of_any_size(scale):
    X, queries = scale * sample(100, 4, np.float64), scale * sample(9, 4, np.float64, 1)
    found = nearest_neighbors(X, 5, queries=queries)
    assert_nearest(found, brute_force(X, 5, queries))
    far = nearest_neighbors(X / scale, 5, queries=queries)
    assert np.isfinite(far.distances).all()
    assert_nearest(far, brute_force(X / scale, 5, queries))


def test_images_and_frames_are_rows():
    import pandas as pd

    images = sample(30, 12, np.uint8)
    expected = nearest_neighbors(images, 3)
    for given in (images.reshape(30, 3, 4), pd.DataFrame(images)):
        found = nearest_neighbors(given, 3)
        assert_array_equal(found.indices, expected.indices)


def test_memory_is_a_few_blocks(monkeypatch):
    monkeypatch.setattr(_distances, "_BLOCK", 2**16)
    monkeypatch.setattr(_index, "_PAIRS", 2**16)
    monkeypatch.setattr(_index, "_QUERIES", 64)
    X = sample(6000, 4, np.float32)
    clusters = X + 1e6 * sample(2, 4, np.float64)[np.arange(6000) % 2]
    for rows in (X, clusters):
        with threadpool_limits(1):
            nearest_neighbors(rows[:100], 3)  # what is loaded once
            tracemalloc.start()
            nearest_neighbors(rows, 3)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 6000 * 6000 * 8 / 15


# ----------------------------------------------------------------------------- index


INDEXED = {
    "plain": sample(5000, 20, np.float32),
    "bytes": sample(700, 30, np.uint8),
    "duplicates": np.round(sample(3000, 2, np.float64), 1),
    "clusters": sample(2000, 3, np.float64) + 1e9 * sample(2000, 3, np.uint8, 1),
    "wide": sample(300, 600, np.float32),
    "flat": sample(3000, 9, np.float32) @ sample(9, 520, np.float32, 1)
    + 0.1 * sample(3000, 520, np.float32, 2),
}


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_row_is_the_same_in_any_batch_on_any_threads(name, metric):
    X = INDEXED[name].astype(np.float64)
    rng = np.random.default_rng(2)
    queries = X[rng.integers(len(X), size=700)] + rng.normal(size=(700, 1))
    queries[::7] = X[:100]
    index = NeighborIndex.build(INDEXED[name], metric=metric)
    whole = index.query(queries, 7)
    assert not np.isnan(whole.distances).any()
    for start, stop in [(0, 1), (300, 301), (255, 258), (3, 700), (690, 700)]:
        part = index.query(queries[start:stop], 7)
        assert_array_equal(part.indices, whole.indices[start:stop])
        assert_array_equal(part.distances, whole.distances[start:stop])
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads):
            found = index.query(queries, 7)
        assert_array_equal(found.indices, whole.indices)
        assert_array_equal(found.distances, whole.distances)


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_row_of_the_index_is_at_exactly_zero(name, metric):
    X = INDEXED[name]
    found = NeighborIndex.build(X, metric=metric).query(X[:500], 1)
    assert_array_equal(found.distances, 0.0)
    if metric == "euclidean":
        assert_array_equal(X[found.indices[:, 0]], X[:500])


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock"])
def test_an_index_comes_back_from_its_arrays_and_from_a_pickle(metric):
    X = INDEXED["duplicates"]
    index = NeighborIndex.build(X, metric=metric)
    expected = index.query(X[:50] + 0.01, 5)
    arrays = index.arrays()
    assert all(type(array) is np.ndarray for array in arrays.values())
    assert not any(array.dtype.hasobject for array in arrays.values())
    for other in (
        NeighborIndex.from_arrays(arrays, metric=metric),
        pickle.loads(pickle.dumps(index)),
    ):
        assert (other.n_samples, other.n_features) == X.shape
        found = other.query(X[:50] + 0.01, 5)
        assert_array_equal(found.indices, expected.indices)
        assert_array_equal(found.distances, expected.distances)


@pytest.mark.parametrize("k", [1, 15, 200])
def test_leading_axes_of_wide_rows_lose_no_neighbour(k):
    X = INDEXED["flat"]
    index = NeighborIndex.build(X)
    assert index._axes is not None
    assert index._right.shape[1] < 50
    queries = np.concatenate([X[:40], sample(10, 520, np.float32, 3)])
    assert_nearest(index.query(queries, k), brute_force(X, k, queries))
    digits = load_digits().data
    wide = np.hstack([digits, digits**2])
    index = NeighborIndex.build(wide)
    assert index._axes is not None
    assert_nearest(index.query_itself(k), brute_force(wide, k))


@pytest.mark.parametrize("n", [2, 5, 40])
def test_few_wide_rows(n):
    X = sample(n, 300, np.float64)
    X[1] = X[0]
    assert_nearest(nearest_neighbors(X, n - 1), brute_force(X, n - 1))
    assert_nearest(nearest_neighbors(X, n, queries=X), brute_force(X, n, X))


def test_an_index_keeps_rows_of_its_own():
    X = sample(50, 3, np.float64)
    index = NeighborIndex.build(X)
    kept = X.copy()
    X[:] = 0.0
    assert_array_equal(index.query(kept, 1).distances, 0.0)


# --------------------------------------------------------------------------- metrics


def test_cosine_distances():
    X, queries = sample(300, 4, np.float64), sample(40, 4, np.float64, seed=1)
    found = nearest_neighbors(X, 6, queries=queries, metric="cosine")
    indices, distances = brute_force(X, 6, queries, "cosine")
    assert_array_equal(found.indices, indices)
    assert_allclose(found.distances, distances, rtol=1e-9, atol=1e-15)
    huge = nearest_neighbors(1e140 * X, 6, queries=1e-140 * queries, metric="cosine")
    assert_array_equal(huge.indices, indices)


def test_cosine_of_rows_of_zeros():
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, -2.0]])
    found = nearest_neighbors(X, 3, metric="cosine")
    assert_array_equal(found.indices[0], [2, 1, 3])
    assert_allclose(found.distances[0], [0.0, 1.0, 1.0])
    assert_allclose(found.distances[1], [1.0, 1.0, 1.0])


@pytest.mark.parametrize("metric", ["cityblock", "chebyshev", "correlation", "hamming"])
def test_other_metrics_compare_all_pairs(metric):
    X = np.round(sample(150, 4, np.float64), 1)
    X[20] = X[30]
    assert_nearest(
        nearest_neighbors(X, 4, metric=metric), brute_force(X, 4, None, metric)
    )
    queries = np.round(sample(20, 4, np.float64, seed=1), 1)
    found = NeighborIndex.build(X, metric=metric).query(queries, 4)
    assert_nearest(found, brute_force(X, 4, queries, metric))


def test_distances_that_are_not_defined_are_infinite_or_zero():
    X = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 2.0, 1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the division by 0
        found = nearest_neighbors(X, 2, metric="correlation")
    assert_array_equal(found.distances[0], [0.0, np.inf])
    assert_allclose(found.distances[1], [0.5, np.inf])


def test_boolean_metrics_take_numbers_without_a_warning():
    X = sample(30, 9, np.uint8) > 128
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nearest_neighbors(X.astype(float), 3, metric="jaccard")
    assert_nearest(found, brute_force(X, 3, None, "jaccard"))


# ----------------------------------------------------------------------- approximate


def recall(found, expected):
    hits = [len({*a} & {*b}) for a, b in zip(found, expected, strict=True)]
    return np.sum(hits) / expected.size


def assert_nearly_exact(metric, train, queries=None):
    given = {"queries": queries, "metric": metric}
    exact = nearest_neighbors(train, 10, **given)
    found = nearest_neighbors(train, 10, method="approximate", random_state=0, **given)
    assert recall(found.indices, exact.indices) > 0.97
    expected = cdist(train if queries is None else queries, train, metric)
    expected = np.take_along_axis(expected, found.indices, axis=1)
    tolerance = 1e-5 if metric == "cityblock" else 1e-9
    assert_allclose(found.distances, expected, rtol=tolerance)
    assert (np.diff(found.distances, axis=1) >= 0).all()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_approximate_neighbours_are_nearly_the_exact_ones(metric):
    assert_nearly_exact(metric, load_digits().data[:1500])


@pytest.mark.slow  # numba compiles each of them anew
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock"])
def test_approximate_neighbours_of_new_rows_and_of_another_metric(metric):
    X = load_digits().data
    assert_nearly_exact(metric, X[:1500])
    assert_nearly_exact(metric, X[:1500], X[1500:])


def test_approximate_neighbours_leave_the_row_out_and_keep_duplicates():
    X = load_digits().data[:300]
    X = np.concatenate([X, X[:100]])
    found = nearest_neighbors(X, 5, method="approximate", random_state=0)
    assert (found.indices != np.arange(400)[:, np.newaxis]).all()
    assert (found.distances[300:, 0] == 0).mean() > 0.95


@pytest.mark.parametrize("n", [2, 3, 12])
def test_approximate_neighbours_of_few_rows_are_all_there(n):
    X = np.repeat(sample(n, 2, np.float64), 2, axis=0)
    found = nearest_neighbors(X, 2 * n - 1, method="approximate", random_state=0)
    assert_array_equal(
        np.sort(found.indices, axis=1),
        [[j for j in range(2 * n) if j != i] for i in range(2 * n)],
    )


def test_an_offset_does_not_blur_approximate_neighbours():
    X = load_digits().data[:500]
    exact = nearest_neighbors(X, 5)
    found = nearest_neighbors(X + 1e9, 5, method="approximate", random_state=0)
    assert recall(found.indices, exact.indices) > 0.95


def test_a_seed_gives_one_approximation_and_moves_no_global_stream():
    X = load_digits().data[:600]
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, other, third = (
            nearest_neighbors(X, 5, method="approximate", random_state=seed)
            for seed in (0, 0, None)
        )
    assert_array_equal(one.indices, other.indices)
    assert_array_equal(one.distances, other.distances)
    assert third.indices.shape == (600, 5)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_auto_is_exact_until_rows_are_many(monkeypatch):
    from manifoldgen.neighbors import _graph

    X = load_digits().data[:400]
    expected = nearest_neighbors(X, 5)
    assert_nearest(expected, brute_force(X, 5))
    called = []

    def approximate(*args):
        called.append(args)
        return expected

    monkeypatch.setattr(_graph, "approximate_neighbors", approximate)
    monkeypatch.setattr(_graph, "_EXACT_PRODUCTS", 400 * 399 * 80)
    nearest_neighbors(X, 5, queries=X[:10])
    assert not called
    nearest_neighbors(X, 5)
    assert len(called) == 1


# ------------------------------------------------------------------------ bad inputs


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"n_neighbors": 5}, ValueError, "between 1 and 4, got 5. X has 5 rows, and a"),
        ({"n_neighbors": 6, "queries": [[1.0]]}, ValueError, "5, got 6. X has 5 rows"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be an int between 1 and 4"),
        ({"n_neighbors": 2.0}, TypeError, "n_neighbors must be an int"),
        ({"method": "fast"}, ValueError, "method must be one of 'auto', 'exact'"),
        ({"metric": "taxi"}, ValueError, "metric must be one of 'braycurtis', 'canb"),
        ({"metric": "mahalanobis"}, ValueError, "whiten the rows first"),
        ({"metric": None}, ValueError, "metric must be one of"),
        ({"metric": "taxi", "method": "approximate"}, ValueError, "for approximate"),
        ({"queries": [[1.0, 2.0]]}, ValueError, "queries must have the 1 columns"),
        ({"queries": [[np.nan]]}, ValueError, "queries contains NaN"),
        ({"X": [[np.inf]] * 5}, ValueError, "X contains infinity"),
        ({"X": [[1e200]] * 5}, ValueError, "X must hold values up to 1e150"),
        ({"random_state": -1, "method": "approximate"}, ValueError, "random_state"),
    ],
)
def test_bad_input_is_explained(given, error, message):
    arguments = {"X": np.arange(5.0)[:, np.newaxis], "n_neighbors": 2, **given}
    with pytest.raises(error, match=message):
        nearest_neighbors(**arguments)


def test_bad_queries_of_an_index_are_explained():
    index = NeighborIndex.build(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"3, got 4\. The index holds 3 rows"):
        index.query([[0.0, 0.0]], 4)
    with pytest.raises(ValueError, match=r"2, got 3\. The index holds 3 rows, none"):
        index.query_itself(3)
    with pytest.raises(ValueError, match="rows must have the 2 columns"):
        index.query([[0.0]], 1)
    with pytest.raises(ValueError, match="metric must be one of"):
        NeighborIndex.build([[0.0]], metric="nearest")


# ------------------------------------------------------------------------ components


def test_components_are_counted_in_either_direction_and_ranked_by_size():
    # 0-1 and 7-8-9; 2 points at 3, 3 at 4, 4-5-6 in a ring
    neighbours = [[1], [0], [3], [4], [5], [6], [4], [8], [9], [7]]
    expected = [2, 2, 0, 0, 0, 0, 0, 1, 1, 1]
    assert_array_equal(symmetric_components(neighbours), expected)


def test_components_of_equal_size_come_by_their_lowest_row():
    assert_array_equal(symmetric_components([[2], [3], [0], [1]]), [0, 1, 0, 1])


def test_clusters_far_apart_are_components():
    X = sample(90, 2, np.float64) + 100.0 * (np.arange(90) % 3 == 0)[:, np.newaxis]
    labels = symmetric_components(nearest_neighbors(X, 15).indices)
    assert_array_equal(labels, (np.arange(90) % 3 == 0).astype(int))


# ---------------------------------------------------------------------- accelerators


@pytest.mark.parametrize("rounding", [2.0**-24, 2.0**-8])
@pytest.mark.parametrize("name", INDEXED)
def test_pairs_ranked_by_torch_give_the_same_to_the_bit(name, rounding, monkeypatch):
    def coarse(self):
        return rounding

    X = INDEXED[name]
    expected = nearest_neighbors(X, 7)
    monkeypatch.setattr("manifoldgen.neighbors._device.Ranking._find_rounding", coarse)
    # by this name the CPU is a device like any other
    found = nearest_neighbors(X, 7, device="cpu:0")
    assert_array_equal(found.indices, expected.indices)
    assert_array_equal(found.distances, expected.distances)


@pytest.mark.gpu
@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_an_accelerator_finds_the_same_to_the_bit(name, metric, accelerator):
    X = INDEXED[name]
    expected = nearest_neighbors(X, 7, metric=metric)
    found = nearest_neighbors(X, 7, metric=metric, device=accelerator)
    assert_array_equal(found.indices, expected.indices)
    assert_array_equal(found.distances, expected.distances)
    expected = nearest_neighbors(X, 7, metric=metric, queries=X[:9])
    found = nearest_neighbors(X, 7, metric=metric, queries=X[:9], device=accelerator)
    assert_array_equal(found.indices, expected.indices)
    assert_array_equal(found.distances, expected.distances)


@pytest.mark.gpu
def test_coarse_products_of_an_accelerator_lose_no_neighbour(accelerator):
    import torch

    X = INDEXED["plain"]
    expected = nearest_neighbors(X, 7)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = nearest_neighbors(X, 7, device=accelerator)
    finally:
        torch.set_float32_matmul_precision(before)
    assert_array_equal(found.indices, expected.indices)
    assert_array_equal(found.distances, expected.distances)
