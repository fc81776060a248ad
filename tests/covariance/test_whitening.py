"""Whitening, distances and leaving one out, against plain formulas and peers."""

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance

from manifoldgen.covariance import (
    leave_one_out,
    moments,
    oas_shrinkage,
    ridge_variances,
    shrink,
    squared_distances,
    whitening_matrix,
)


def correlated(n, d, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    mixing = np.eye(d) + 0.3 * rng.standard_normal((d, d))
    return (rng.standard_normal((n, d)) @ mixing + 3.0).astype(dtype)


@pytest.mark.parametrize("ridge", [1e-6, 1e-2])
def test_whitening_is_the_inverse_of_covariance_and_ridge(ridge):
    S = moments(correlated(50, 7)).covariance
    whitening, log_determinant = whitening_matrix(S, ridge)
    regular = S + np.diag(ridge * S.diagonal())
    np.testing.assert_allclose(whitening @ whitening.T, np.linalg.inv(regular))
    assert log_determinant == pytest.approx(np.linalg.slogdet(regular)[1], abs=1e-9)


def test_a_constant_column_gets_a_small_share_of_the_mean_variance():
    np.testing.assert_allclose(
        ridge_variances(np.diag([1e-20, 2.0, 0.0]), 1e-3),
        [1e-6 * 2 / 3, 2e-3, 1e-6 * 2 / 3],
    )
    assert ridge_variances(np.zeros((2, 2)), 1e-3)[0] == 1e-6


@pytest.mark.parametrize("noise", [0.0, -1e-4])
def test_a_matrix_that_rounding_made_indefinite(noise):
    direction = np.array([[1.0, 1.0], [1.0, 1.0]])
    S = direction + noise * np.array([[1.0, -1.0], [-1.0, 1.0]])
    np.fill_diagonal(S, 1.0)
    S[0, 1] = S[1, 0] = 1.0 - noise
    whitening, log_determinant = whitening_matrix(S, 1e-6)
    along, across = squared_distances(
        np.array([[1.0, 1.0], [1.0, -1.0]]), np.zeros(2), whitening
    )
    assert along == pytest.approx(1.0, rel=1e-3)
    assert across > 1e5
    assert np.isfinite(log_determinant)
    assert np.array_equal(whitening, np.triu(whitening))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_are_scikit_learns(dtype):
    X = correlated(2000, 20, dtype=dtype)
    peer = EmpiricalCovariance().fit(X.astype(np.float64))
    found = moments(X)
    whitening, _ = whitening_matrix(found.covariance, 0.0)
    distances = squared_distances(X, found.mean, whitening)
    assert distances.dtype == np.float64
    expected = peer.mahalanobis(X.astype(np.float64))
    np.testing.assert_allclose(distances, expected, rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 3, 16, 64, 129, 300, 500])
def test_a_row_has_one_distance_to_the_bit(d, dtype):
    rng = np.random.default_rng(d)
    X = rng.standard_normal((600, d)).astype(dtype)
    location, whitening = rng.standard_normal(d), np.triu(rng.standard_normal((d, d)))
    batch = squared_distances(X, location, whitening)
    for first in (1, 6, 255, 300):
        part = squared_distances(X[first:], location, whitening)
        assert np.array_equal(part, batch[first:])
    for row in range(0, 600, 29):
        alone = squared_distances(X[row : row + 1], location, whitening)
        assert alone[0] == batch[row]
    columns_first = squared_distances(np.asfortranarray(X), location, whitening)
    assert np.array_equal(columns_first, batch)


def test_a_row_in_a_batch_of_many_threads_has_the_same_distance():
    X = correlated(40000, 20)
    location, whitening = np.zeros(20), np.eye(20)
    batch = squared_distances(X, location, whitening)
    for first in (0, 5, 16384, 39999):
        alone = squared_distances(X[first : first + 1], location, whitening)
        assert alone[0] == batch[first]


def test_a_distance_too_large_for_float64_is_infinite():
    X = np.array([[1e200, -1e200], [1.0, 1.0]])
    distances = squared_distances(X, np.zeros(2), np.array([[1.0, 1e150], [0, 1]]))
    assert distances[0] == np.inf
    assert np.isfinite(distances[1])


@pytest.mark.parametrize("d", [1, 5, 40])
def test_leaving_rows_out_is_what_refitting_without_them_gives(d):
    X = correlated(60, d)
    peer = EmpiricalCovariance().fit(X)
    found = leave_one_out(peer.mahalanobis(X), 60)
    for row in (0, 17, 59):
        rest = EmpiricalCovariance().fit(np.delete(X, row, axis=0))
        assert found[row] == pytest.approx(rest.mahalanobis(X[[row]])[0], rel=1e-6)


def test_leaving_rows_out_of_a_shrunk_covariance_is_close():
    X = correlated(120, 60)

    def distances(rows, of):
        total = moments(rows)
        shrinkage = oas_shrinkage(total.covariance, total.n_samples)
        matrix, _ = whitening_matrix(shrink(total.covariance, shrinkage), 1e-9)
        return squared_distances(of, total.mean, matrix), shrinkage

    inside, shrinkage = distances(X, X)
    found = leave_one_out(inside, len(X), shrinkage)
    exact = np.array(
        [distances(np.delete(X, i, axis=0), X[[i]])[0][0] for i in range(len(X))]
    )
    # Counting a row in halves the distance here; what is left of that is 2%.
    assert np.median(inside / exact) < 0.8
    np.testing.assert_allclose(found, exact, rtol=0.05)


def test_leaving_out_the_only_row_of_a_direction():
    distances = leave_one_out(np.array([9.0]), 10)
    assert np.isfinite(distances[0])
    assert distances[0] > 1e10
