"""Moments, shrinkage, whitening and distances, against plain formulas and peers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.covariance import OAS, EmpiricalCovariance
from threadpoolctl import threadpool_info, threadpool_limits

from manifoldgen._threads import map_on_threads
from manifoldgen.covariance import (
    Moments,
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


@pytest.mark.parametrize(("n", "d"), [(30, 4), (500, 10), (20, 50)])
def test_oas_is_the_formula_of_the_paper(n, d):
    S = moments(correlated(n, d)).covariance
    square, trace = np.trace(S @ S), np.trace(S)
    numerator = (1 - 2 / d) * square + trace**2
    denominator = (n + 1 - 2 / d) * (square - trace**2 / d)
    expected = min(numerator / denominator, 1.0)
    assert oas_shrinkage(S, n) == pytest.approx(expected, rel=1e-12)
    assert oas_shrinkage(1e6 * S, n) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (500, 10), (60, 50), (400, 200)])
def test_oas_differs_from_scikit_learns_by_no_more_than_stated(n, d):
    X = correlated(n, d)
    peer = OAS().fit(X)
    S = moments(X).covariance
    ours = oas_shrinkage(S, n)
    assert ours * (1 - 2 / (d * n)) <= peer.shrinkage_ <= ours * (1 + 1 / (d - 1))
    # The peer's weight moves our covariance onto the peer's.
    np.testing.assert_allclose(
        shrink(S, peer.shrinkage_), peer.covariance_, rtol=1e-9, atol=1e-12
    )


def test_oas_of_one_feature_and_of_no_variance():
    assert oas_shrinkage(np.array([[2.0]]), 10) == 0.0
    assert oas_shrinkage(np.zeros((3, 3)), 10) == 1.0
    assert oas_shrinkage(np.eye(3), 10) == 1.0


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


def test_moments_are_plain_data():
    part = Moments(2, np.zeros(1), np.ones((1, 1)))
    assert part.covariance == 0.5
