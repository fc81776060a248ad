"""Moments of arrays and of chunks, against plain formulas."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from manifoldgen._threads import map_on_threads
from manifoldgen.covariance import (
    Moments,
    moments,
)


def correlated(n, d, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    mixing = np.eye(d) + 0.3 * rng.standard_normal((d, d))
    return (rng.standard_normal((n, d)) @ mixing + 3.0).astype(dtype)


def blas_threads():
    return [x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"]


@pytest.mark.parametrize("n", [1, 2, 1023, 1025, 16385, 40000])
def test_moments_of_any_number_of_rows(n):
    X = correlated(n, 3)
    found = moments(X)
    assert found.n_samples == n
    np.testing.assert_allclose(found.mean, X.mean(axis=0), rtol=1e-13)
    exact = (X - X.mean(axis=0)).T @ (X - X.mean(axis=0))
    np.testing.assert_allclose(found.scatter, exact, rtol=1e-11, atol=1e-12)


def test_wide_moments():
    X = correlated(700, 600)
    exact = np.cov(X.T, bias=True)
    np.testing.assert_allclose(moments(X).covariance, exact, rtol=1e-10, atol=1e-10)


def test_moments_by_hand():
    found = moments(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 6.0]]))
    np.testing.assert_array_equal(found.mean, [2.0, 2.0])
    np.testing.assert_array_equal(found.scatter, [[8.0, 12.0], [12.0, 24.0]])


def test_merged_and_removed_moments_are_those_of_the_rows():
    X = correlated(500, 4)
    both = moments(X[:120]).merge(moments(X[120:]))
    rest = moments(X).without(moments(X[:120]))
    for found, exact in ((both, moments(X)), (rest, moments(X[120:]))):
        assert found.n_samples == exact.n_samples
        np.testing.assert_allclose(found.mean, exact.mean, rtol=1e-13)
        np.testing.assert_allclose(found.scatter, exact.scatter, rtol=1e-11)


def test_all_rows_cannot_be_removed():
    part = moments(correlated(5, 2))
    with pytest.raises(ValueError, match="fewer rows than the 5"):
        part.without(part)


@pytest.fixture(scope="module")
def many():
    """Rows whose products are taken in float32."""
    return correlated(40000, 180)


def relative_error(X):
    exact = np.cov(X.T.astype(np.float64), bias=True)
    std = np.sqrt(exact.diagonal())
    return np.abs((moments(X).covariance - exact) / np.outer(std, std)).max()


@pytest.mark.parametrize("mean", [0.0, 1e4, -1e4])
def test_float32_far_from_zero(many, mean):
    X = (many + mean).astype(np.float32)
    assert relative_error(X) < 1e-6
    exact = X.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(moments(X).mean, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("place", [0, 20000, -1])
def test_a_far_row_does_not_spoil_the_rest(many, place):
    X = many.astype(np.float32)
    X[place] = 1e6
    assert relative_error(X) < 1e-6
    rest = np.delete(many, place, axis=0)
    found = moments(X).without(moments(X[[place]]))
    np.testing.assert_allclose(found.mean, rest.mean(axis=0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("unit", [1e-25, 1e25])
def test_units_that_leave_the_range_of_float32_squares(many, unit):
    assert relative_error(many.astype(np.float32) * np.float32(unit)) < 1e-6


def test_constant_columns_are_exactly_constant(many):
    X = many.astype(np.float32)
    X[:, 1] = 0.1
    found = moments(X).merge(moments(X[:7]))
    assert found.mean[1] == X[0, 1]
    assert not found.scatter[1].any()
    assert not found.scatter[:, 1].any()


def test_squares_beyond_float64_raise():
    with pytest.raises(ValueError, match="Divide X by a constant"):
        moments(np.array([[0.0], [1e200], [-1e200]]))


def test_moments_do_not_depend_on_the_number_of_threads():
    X = correlated(40000, 5, dtype=np.float32)
    many = moments(X)
    with threadpool_limits(1, user_api="blas"):
        one = moments(X)
    assert np.array_equal(many.scatter, one.scatter)
    assert np.array_equal(many.mean, one.mean)


def test_concurrent_calls_leave_the_threads_of_blas_as_they_were():
    before = blas_threads()
    X = correlated(40000, 5, dtype=np.float32)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(moments, [X] * 8))
    assert blas_threads() == before
    assert all(np.array_equal(r.scatter, results[0].scatter) for r in results)


def test_an_error_on_a_thread_leaves_blas_as_it_was():
    before = blas_threads()

    def fail(start):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(map_on_threads(fail, range(5), n_features=3))
    assert blas_threads() == before
    assert list(map_on_threads(str, range(3), n_features=3)) == ["0", "1", "2"]


def test_moments_are_plain_data():
    part = Moments(2, np.zeros(1), np.ones((1, 1)))
    assert part.covariance == 0.5
