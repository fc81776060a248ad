"""Moments of chunks and of files: any cut and any order, and little memory."""

import tracemalloc

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from manifoldgen.covariance import class_moments, moments


def rows(seed, dtype=np.float64, mean=0.0, n=700, d=6):
    rng = np.random.default_rng(seed)
    mixing = np.eye(d) + 0.5 * rng.standard_normal((d, d))
    return (rng.standard_normal((n, d)) @ mixing + mean).astype(dtype)


def cut(X, rng):
    """Return the rows in chunks of random lengths, some of one row, some of none."""
    edges = np.sort(rng.integers(0, len(X) + 1, size=12))
    return np.split(X, [0, 1, *edges])


def merged_in_any_order(parts, rng):
    """Return the merge of parts by a random tree over a random order."""
    parts = [parts[i] for i in rng.permutation(len(parts))]
    while len(parts) > 1:
        i = rng.integers(len(parts) - 1)
        parts[i : i + 2] = [parts[i].merge(parts[i + 1])]
    return parts[0]


def relative_gap(found, exact):
    """Return the largest difference, in units of the deviations of the columns."""
    std = np.sqrt(exact.covariance.diagonal())
    gaps = [
        np.abs(found.mean - exact.mean) / std,
        np.abs(found.covariance - exact.covariance) / np.outer(std, std),
        np.abs(found.third - exact.third) / exact.fourth**0.75,
        np.abs(found.fourth / exact.fourth - 1),
    ]
    return max(np.max(gap) for gap in gaps)


def exact_moments(X):
    """Return the sums by their definitions, in extended precision."""
    centred = X.astype(np.longdouble)
    centred -= centred.mean(axis=0)
    squares = (centred**2).sum(axis=1)
    return centred.T @ centred, squares @ centred, (squares**2).sum()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("dtype", "mean", "limit"),
    [(np.float64, 3.0, 1e-10), (np.float64, 1e4, 1e-10), (np.float32, 1e4, 1e-4)],
    ids=["float64", "float64-far", "float32-far"],
)
def test_any_chunks_in_any_order(seed, dtype, mean, limit):
    rng = np.random.default_rng(seed)
    X = rows(seed, dtype, mean)
    whole = moments(X, fourth=True)
    parts = [moments(part, fourth=True) for part in cut(X, rng) if len(part)]
    assert relative_gap(merged_in_any_order(parts, rng), whole) < limit
    assert relative_gap(moments(iter(cut(X, rng)), fourth=True), whole) < limit
    assert relative_gap(whole.merge(parts[0]).without(parts[0]), whole) < limit
    scatter, third, fourth = exact_moments(X)
    np.testing.assert_allclose(whole.scatter, scatter.astype(float), rtol=1e-7)
    np.testing.assert_allclose(whole.third, third.astype(float), rtol=1e-7, atol=1e-4)
    assert whole.fourth == pytest.approx(float(fourth), rel=1e-8)


def test_chunks_of_float32_whose_products_are_in_float32(monkeypatch):
    monkeypatch.setattr("manifoldgen.covariance._moments._FEW_PRODUCTS", 0)
    X = rows(0, np.float32, 1e4, n=5000)
    std = np.sqrt(np.var(X, axis=0, dtype=np.float64))
    exact = np.cov(X.T.astype(np.float64), bias=True)
    found = moments(X[start : start + 900] for start in range(0, 5000, 900))
    assert np.max(np.abs(found.covariance - exact) / np.outer(std, std)) < 1e-6


def test_powers_are_there_where_all_parts_have_them():
    with_them, without_them = moments(rows(0), fourth=True), moments(rows(1))
    assert with_them.merge(without_them).fourth is None
    assert with_them.merge(with_them).without(without_them).third is None
    assert moments(rows(0)).fourth is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float16])
def test_rows_of_every_kind_of_real_number(dtype):
    X = np.random.default_rng(0).integers(0, 2, (50, 3)).astype(dtype)
    found = moments(X)
    exact = np.cov(X.T.astype(np.float64), bias=True)
    np.testing.assert_allclose(found.covariance, exact, atol=1e-12)


@pytest.fixture
def file_of_rows(tmp_path):
    X = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(100_000, 32))
    X[:] = np.random.default_rng(0).standard_normal((1000, 32)).repeat(100, axis=0) + 5
    X[:, 3] = 7.0
    X.flush()
    return np.memmap(tmp_path / "rows", np.float32, "r", shape=(100_000, 32))


def peak_bytes(call):
    """Return what a call returns, and the most bytes that were held meanwhile."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@threadpool_limits.wrap(limits=1, user_api="blas")  # each thread has a block
def test_a_file_is_read_a_block_at_a_time(file_of_rows):
    chunk_bytes = 2**14 * 32 * 4
    found, peak = peak_bytes(lambda: moments(file_of_rows))
    assert peak < 1.5 * chunk_bytes
    np.testing.assert_allclose(found.mean, file_of_rows.mean(axis=0, dtype=float))
    y = np.arange(len(file_of_rows)) % 7
    classes, peak = peak_bytes(lambda: class_moments(file_of_rows, y))
    assert peak < 1.5 * chunk_bytes
    np.testing.assert_allclose(classes.total.scatter, found.scatter, rtol=1e-9)


def test_one_chunk_is_held_at_a_time():
    def chunks(make):
        for number in range(5):
            yield make(number)

    n_bytes = 4000 * 64 * 8
    labels = np.arange(4000) % 2
    found, peak = peak_bytes(
        lambda: moments(chunks(lambda number: np.full((4000, 64), 1.0 + number)))
    )
    assert peak < 1.5 * n_bytes
    np.testing.assert_array_equal(found.mean, 3.0)
    _, peak = peak_bytes(
        lambda: class_moments(
            chunks(lambda number: (np.full((4000, 64), 1.0 + number), labels))
        )
    )
    assert peak < 2.5 * n_bytes  # the rows of a class are gathered


def test_chunks_of_different_widths():
    chunks = [np.ones((5, 3)), np.ones((0, 3)), np.ones((5, 4))]
    with pytest.raises(ValueError, match=r"chunk 2 of X must have 3 columns .* got 4"):
        moments(chunks)
    labelled = [(chunk, np.zeros(len(chunk))) for chunk in chunks]
    with pytest.raises(ValueError, match=r"chunk 2 of X must have 3 columns .* got 4"):
        class_moments(labelled)


@pytest.mark.parametrize("empty", [(), [np.ones((0, 3))], np.ones((0, 3))])
def test_no_rows(empty):
    with pytest.raises(ValueError, match="X must have at least one row"):
        moments(empty)


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (np.ones(3), ValueError, r"X must be an array of shape .* got .* \(3,\)"),
        ([[1.0, 2.0]], ValueError, r"chunk 0 of X must be an array of shape"),
        (np.array([["a"]]), TypeError, "X must hold real numbers, got dtype <U1"),
        (np.ones((2, 2), complex), TypeError, "real numbers, got dtype complex128"),
        (3, TypeError, "array or an iterable of arrays, got int"),
        (np.array([[1.0], [np.nan]]), ValueError, "X must hold finite values, got NaN"),
        (np.array([[1.0], [-np.inf]]), ValueError, "finite values, got inf"),
        ([np.ones((2, 1)), np.full((2, 1), np.nan)], ValueError, "chunk 1 of X .* NaN"),
    ],
)
def test_what_is_not_rows(X, error, match):
    with pytest.raises(error, match=match):
        moments(X)


def test_fourth_powers_beyond_float64():
    X = np.array([[0.0], [1e90], [-1e90]])
    assert np.isfinite(moments(X).scatter)
    with pytest.raises(ValueError, match=r"fourth powers are finite .* Divide X"):
        moments(X, fourth=True)
