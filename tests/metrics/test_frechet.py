"""Fréchet distances against closed forms, scipy's square root and torchmetrics."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import sqrtm

from manifoldgen.metrics import _frechet, frechet_distance, frechet_distance_limit


def by_definition(X, Y):
    S, T = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    gap = X.mean(axis=0) - Y.mean(axis=0)
    return gap @ gap + np.trace(S + T - 2 * sqrtm(S @ T).real)


def with_moments(rng, n, mean, covariance):
    """Return rows that have exactly this mean and covariance."""
    X = rng.randn(n, len(mean))
    X -= X.mean(axis=0)
    whitened = X @ np.linalg.inv(np.linalg.cholesky(np.cov(X, rowvar=False))).T
    return mean + whitened @ np.linalg.cholesky(covariance).T


def test_commuting_covariances_have_a_closed_form():
    rng = np.random.RandomState(0)
    axes = np.linalg.qr(rng.randn(5, 5))[0]
    one, other = 0.1 + rng.rand(2, 5)
    X = with_moments(rng, 60, np.arange(5.0), (axes * one) @ axes.T)
    Y = with_moments(rng, 50, np.zeros(5), (axes * other) @ axes.T)
    expected = 30.0 + np.square(np.sqrt(one) - np.sqrt(other)).sum()
    assert_allclose(frechet_distance(X, Y), expected, rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("seed", range(2))
def test_any_covariances_are_those_of_scipys_square_root(seed, offset):
    rng = np.random.RandomState(seed)
    X = offset + rng.randn(200, 6) @ rng.randn(6, 6)
    Y = offset + 1.0 + rng.randn(150, 6) @ rng.randn(6, 6)
    assert_allclose(frechet_distance(X, Y), by_definition(X, Y), rtol=1e-9)
    assert_allclose(frechet_distance(X, Y), frechet_distance(Y, X), rtol=1e-12)


def test_torchmetrics_finds_the_same():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Rows(torch.nn.Module):
        num_features = 7

        def forward(self, rows):
            return rows

    rng = np.random.RandomState(1)
    X, Y = rng.randn(90, 7), 0.3 + 1.5 * rng.randn(80, 7)
    peer = FrechetInceptionDistance(feature=Rows(), normalize=True)
    peer.set_dtype(torch.float64)
    peer.update(torch.from_numpy(X), real=True)
    peer.update(torch.from_numpy(Y), real=False)
    assert_allclose(frechet_distance(X, Y), float(peer.compute()), rtol=1e-9)


def test_few_rows_warn_and_are_still_right():
    rng = np.random.RandomState(2)
    X, Y = rng.randn(15, 30), 0.5 + rng.randn(200, 30)
    with pytest.warns(UserWarning, match="more rows than columns, got 15 rows of 30"):
        found = frechet_distance(X, Y)
    # a root of a singular matrix has half of the digits
    assert_allclose(found, by_definition(X, Y), rtol=1e-6)
    S = np.linalg.cholesky(np.cov(Y, rowvar=False)).T
    A = (X - X.mean(axis=0)) / np.sqrt(len(X) - 1)
    traces = np.square(A).sum() + np.square(S).sum()
    gap = np.square(X.mean(axis=0) - Y.mean(axis=0)).sum()
    expected = gap + traces - 2 * np.linalg.norm(A @ S.T, "nuc")
    assert_allclose(found, expected, rtol=1e-12)


def test_the_warning_names_the_callers_file():
    X = np.random.RandomState(3).randn(4, 9)
    for function in (frechet_distance, frechet_distance_limit):
        with pytest.warns(UserWarning, match="biased") as found:
            function(X, X)
        assert [it.filename for it in found] == [__file__]


def test_rows_and_covariances_give_the_same():
    # Columns of zeros beside them leave the distance, and change the route.
    rng = np.random.RandomState(4)
    X, Y = rng.randn(40, 6), 2.0 + 3.0 * rng.randn(30, 6)
    wide_X, wide_Y = (np.hstack([A, np.zeros((len(A), 50))]) for A in (X, Y))
    with pytest.warns(UserWarning, match="biased"):
        assert_allclose(frechet_distance(wide_X, wide_Y), frechet_distance(X, Y))


def test_a_sample_is_at_no_distance_from_itself():
    rng = np.random.RandomState(5)
    full, singular = rng.randn(500, 40), rng.randn(500, 3) @ rng.randn(3, 40)
    for X in (full, singular, 100.0 + 1e-3 * singular, np.ones((50, 4))):
        assert 0.0 <= frechet_distance(X, X) < 1e-10
        assert 0.0 <= frechet_distance(X, X[::-1]) < 1e-10
    apart = frechet_distance(np.ones((50, 4)), np.zeros((60, 4)))
    assert apart == 4.0
    # a point and a sample: the mean square distance from the point, n - 1 for n
    point, X = np.ones((50, 40)), full
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = frechet_distance(X, point), frechet_distance(point, X)
    expected = np.square(X.mean(axis=0) - 1).sum() + X.var(axis=0, ddof=1).sum()
    assert_allclose(found, expected, rtol=1e-12)


def test_singular_covariances_keep_their_digits():
    # Spreads over 7 decades: eigenvalues of the product would be lost in rounding.
    rng = np.random.RandomState(6)
    one, other = np.logspace(0, -14, 12), np.logspace(0, -13, 12)
    X = with_moments(rng, 100, np.zeros(12), np.diag(one))
    Y = with_moments(rng, 100, np.zeros(12), np.diag(other))
    expected = np.square(np.sqrt(one) - np.sqrt(other)).sum()
    assert_allclose(frechet_distance(X, Y), expected, rtol=1e-7)


def test_eigenvalues_are_taken_where_they_are_exact_alone():
    rng = np.random.RandomState(11)
    X, Y = rng.randn(200, 12), 0.5 + rng.randn(300, 12) @ rng.randn(12, 12)
    S, T = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    A, B = np.linalg.cholesky(S).T, np.linalg.cholesky(T).T
    by_eigenvalues = _frechet._by_eigenvalues(S, T)
    assert by_eigenvalues is not None
    assert_allclose(by_eigenvalues, _frechet._by_singular_values(A, B), rtol=1e-10)
    narrow = np.diag(np.logspace(0, -14, 12))
    assert _frechet._by_eigenvalues(narrow @ S @ narrow, T) is None
    assert _frechet._by_eigenvalues(S, np.diag([1.0] * 11 + [0.0])) is None


def test_the_limit_takes_the_bias_off():
    rng = np.random.RandomState(7)
    d, truth = 8, 8 * 0.1**2
    real = with_moments(rng, 30_000, np.zeros(d), np.eye(d))
    biased, limits = [], []
    for seed in range(40):
        generated = 1.1 * rng.randn(400, d)
        biased.append(frechet_distance(real, generated))
        limits.append(frechet_distance_limit(real, generated, random_state=seed))
    error = np.std(limits) / np.sqrt(len(limits))
    assert abs(np.mean(limits) - truth) < 3 * error
    assert np.mean(biased) - truth > 6 * error
    assert np.std(limits) < 1.3 * np.std(biased)


def test_the_limit_of_two_sizes_is_twice_the_whole_less_the_halves():
    rng = np.random.RandomState(8)
    real, generated = rng.randn(100, 2), rng.randn(60, 2)
    order = np.random.RandomState(3).permutation(60)
    halves = [
        frechet_distance(real, generated[part]) for part in (order[:30], order[30:])
    ]
    expected = 2 * frechet_distance(real, generated) - np.mean(halves)
    limit = frechet_distance_limit(real, generated, n_sizes=2, random_state=3)
    assert_allclose(limit, expected, rtol=1e-9)


def test_no_warning_where_there_are_rows_enough():
    X = np.random.RandomState(9).randn(100, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(X, X + 1.0)
        frechet_distance_limit(X, X + 1.0)


def test_bad_input_is_refused():
    X = np.random.RandomState(10).randn(20, 3)
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        frechet_distance(X, X[:1])
    with pytest.raises(ValueError, match="X_generated must have at least 4 rows"):
        with pytest.warns(UserWarning, match="biased"):
            frechet_distance_limit(X, X[:3])
    with pytest.raises(ValueError, match="n_sizes must be an int >= 2, got 1"):
        frechet_distance_limit(X, X, n_sizes=1)
