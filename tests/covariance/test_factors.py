"""Factors of every kind against the explicit covariance that they stand for."""

import pickle
import tracemalloc

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from manifoldgen.covariance import (
    LowRankFactor,
    factor,
    factor_rows,
    ledoit_wolf_shrinkage,
    moments,
    oas_shrinkage,
    ridge_variances,
    robust_factor,
    shrink,
)

KINDS = ("oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank")
RIDGE = 1e-3


def correlated(n, d, seed=0):
    rng = np.random.default_rng(seed)
    mixing = np.eye(d) + 0.3 * rng.standard_normal((d, d))
    return rng.standard_normal((n, d)) @ mixing * np.linspace(0.5, 3, d) + 3.0


def fitted(X, kind, **options):
    if kind == "robust":
        return robust_factor(X, random_state=0, **options)
    return factor(moments(X, fourth=True), kind, **options)


def explicit(X, kind, n_components=None):
    """Return the covariance of the docstring, with the ridge, from plain formulas."""
    S = np.cov(X.T, bias=True)
    d = len(S)
    if kind in ("ppca", "low_rank"):
        values, vectors = np.linalg.eigh(S)
        values, vectors = values[::-1], vectors[:, ::-1]
        noise = values[n_components:].mean() if kind == "ppca" else 0.0
        values = np.r_[values[:n_components], np.full(d - n_components, noise)]
        return vectors * (values + RIDGE * np.trace(S) / d) @ vectors.T
    if kind == "diagonal":
        S = np.diag(S.diagonal())
    elif kind == "oas":
        S = shrink(S, oas_shrinkage(S, len(X)))
    elif kind == "ledoit_wolf":
        S = LedoitWolf().fit(X).covariance_
    return S + np.diag(ridge_variances(S, RIDGE))


def check_against(found, covariance, X):
    """Check distances, whitening, volume and condition against a covariance."""
    centred = X - X.mean(axis=0)
    exact = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(covariance), centred)
    np.testing.assert_allclose(found.location, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.squared_distances(X), exact, rtol=1e-7)
    white = found.whiten(X)
    assert white.shape == X.shape
    np.testing.assert_allclose((white**2).sum(axis=1), exact, rtol=1e-7)
    affine = (X - found.location) @ found.whitening()
    np.testing.assert_allclose(white, affine, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(found.covariance(), covariance, rtol=1e-7, atol=1e-9)
    _, volume = np.linalg.slogdet(covariance)
    assert found.log_determinant == pytest.approx(volume, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), [(300, 12), (15, 40)])
def test_a_factor_is_its_covariance(kind, n, d):
    X = correlated(n, d)
    n_components = 5 if kind in ("ppca", "low_rank") else None
    options = {"ridge": RIDGE, "n_components": n_components}
    exact = explicit(X, kind, n_components)
    found = fitted(X, kind, **options)
    check_against(found, exact, X)
    rows = factor_rows(X, kind, **options)
    check_against(rows, exact, X)
    assert rows.shrinkage == pytest.approx(found.shrinkage, rel=1e-9)
    assert found.n_features == rows.n_features == d
    assert found.rank == rows.rank == (d if kind == "diagonal" else min(d, n - 1))


def test_no_components_named_for_low_rank_is_every_one():
    X = correlated(300, 6)
    S = np.cov(X.T, bias=True)
    exact = S + RIDGE * np.trace(S) / 6 * np.eye(6)
    check_against(fitted(X, "low_rank", ridge=RIDGE), exact, X)


def test_ppca_is_scikit_learns_probabilistic_model():
    X = correlated(400, 8)
    peer = PCA(3, svd_solver="full").fit(X)
    found = fitted(X, "ppca", n_components=3, ridge=0.0)
    # PCA divides by n - 1.
    np.testing.assert_allclose(
        found.covariance(), peer.get_covariance() * (399 / 400), rtol=1e-9
    )


def test_components_by_share_of_variance():
    X = np.random.default_rng(0).standard_normal((2000, 4)) * [8.0, 4.0, 1.0, 0.1]
    held = np.cumsum(np.sort(X.var(axis=0))[::-1]) / X.var(axis=0).sum()
    for share, expected in ((0.5, 1), (held[1] - 0.01, 2), (held[1] + 0.001, 3)):
        assert fitted(X, "ppca", n_components=share).basis.shape[1] == expected
    assert fitted(X, "ppca").basis.shape[1] == 2  # 95 %
    assert fitted(X[:6], "ppca").basis.shape[1] == 1  # a direction for five rows
    assert fitted(X, "low_rank", n_components=0.9999999).basis.shape[1] == 4


@pytest.mark.parametrize("kind", [*KINDS, "robust"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_has_one_answer_to_the_bit(kind, dtype):
    X = correlated(600, 37).astype(dtype)
    found = fitted(X, kind)
    distances, white = found.squared_distances(X), found.whiten(X)
    assert distances.dtype == white.dtype == np.float64
    for rows in (slice(1, None), slice(255, 400), [17], [599], np.arange(600)[::-1]):
        assert np.array_equal(found.squared_distances(X[rows]), distances[rows])
        assert np.array_equal(found.whiten(X[rows]), white[rows])


@pytest.fixture(scope="module")
def on_a_plane():
    """Rows that span 3 of 6 dimensions, and a direction that they do not vary in."""
    rng = np.random.default_rng(0)
    plane, _ = np.linalg.qr(rng.standard_normal((6, 4)))
    X = rng.standard_normal((200, 3)) * [3.0, 2.0, 1.0] @ plane[:, :3].T + 4.0
    return X, plane[:, 3]


@pytest.mark.parametrize("kind", [*KINDS, "robust"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_off_the_subspace_is_beyond_every_row(on_a_plane, kind, dtype):
    X, normal = on_a_plane
    X = X.astype(dtype)
    found = fitted(X, kind)
    off = (X[0] + 1000 * normal).astype(dtype)
    far, farther = found.squared_distances(np.stack([off, off + 1000 * normal]))
    assert far > 100 * found.squared_distances(X).max()
    assert farther > 2 * far
    if kind != "diagonal":
        assert found.rank == 3
        few = X[:5, :]
        if kind != "robust":
            wide = factor_rows(few, kind)
            assert wide.squared_distances(off[None]) > (
                100 * wide.squared_distances(few).max()
            )


@pytest.mark.parametrize("kind", [*KINDS, "robust"])
@pytest.mark.parametrize("unit", [1000.0, 2.0**-40])
def test_the_unit_of_the_data_changes_no_rank(on_a_plane, kind, unit):
    X, _ = on_a_plane
    rng = np.random.default_rng(1)
    X = X + 0.1 * rng.standard_normal(X.shape)
    X[:, 5] = 2.0
    inside, outside = X[100:], X[100:] + rng.standard_normal((100, 6))
    mixed, truth = np.vstack([inside, outside]), np.repeat([0, 1], 100)
    here = fitted(X[:100], kind)
    there = fitted(unit * X[:100], kind)
    found = here.squared_distances(mixed)
    other = there.squared_distances(unit * mixed)
    np.testing.assert_allclose(other, found, rtol=1e-5)
    assert np.array_equal(np.argsort(other), np.argsort(found))
    assert roc_auc_score(truth, other) == roc_auc_score(truth, found) > 0.6
    assert there.rank == here.rank == 5
    assert there.condition_number == pytest.approx(here.condition_number, rel=1e-4)
    volume = here.log_determinant + 12 * np.log(unit)
    assert there.log_determinant == pytest.approx(volume, rel=1e-6)


def test_a_row_far_along_a_direction_keeps_its_distance_off_it():
    direction = np.full(4, 0.5)
    across = np.array([0.5, -0.5, 0.5, -0.5])
    found = LowRankFactor(
        np.zeros(4), 0.0, 0.0, np.ones(4), direction[:, None], np.array([1e18]), 1
    )
    rows = np.stack([1e9 * direction + 3 * across, 1e9 * direction])
    # A difference of squares of 1e9 would have no digit of the 9 left.
    np.testing.assert_allclose(found.squared_distances(rows), [10.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(found.whiten(rows) @ across, [3.0, 0.0], atol=1e-6)


def test_rank_and_condition_of_a_full_factor():
    X = correlated(500, 4) * [1.0, 1e6, 1e-6, 1.0]
    X = np.c_[X, X @ [1.0, 1e-6, 0.0, 2.0], np.ones(500)]
    found = fitted(X, "empirical", ridge=RIDGE)
    assert found.rank == 4
    used = explicit(X, "empirical")
    std = np.sqrt(used.diagonal())
    values = np.linalg.eigvalsh(used / np.outer(std, std))
    assert found.condition_number == pytest.approx(values[-1] / values[0], rel=1e-6)
    assert fitted(np.ones((9, 3)), "oas").rank == 0


def test_rank_is_not_raised_by_products_in_float32(monkeypatch):
    monkeypatch.setattr("manifoldgen.covariance._moments._FEW_PRODUCTS", 0)
    X = correlated(20000, 6).astype(np.float32)
    X = np.c_[X, X[:, :3]]
    assert factor(moments(X)).rank == 6
    assert factor(moments(X), "low_rank").rank == 6


@pytest.mark.parametrize("kind", KINDS)
def test_few_wide_rows_need_no_square_matrix(kind):
    X = np.random.default_rng(0).standard_normal((15, 5000))
    tracemalloc.start()
    found = factor_rows(X, kind)
    distances = found.squared_distances(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5000 * 5000 * 8 / 4
    assert np.isfinite(distances).all()
    if kind in ("oas", "ledoit_wolf", "empirical"):
        assert found.rank == 14  # whatever the shrinkage, here nearly or all of it


def test_ledoit_wolf_needs_fourth_powers():
    with pytest.raises(ValueError, match=r"moments\(X, fourth=True\)"):
        factor(moments(correlated(9, 2)), "ledoit_wolf")
    assert ledoit_wolf_shrinkage(moments(np.ones((4, 3)), fourth=True)) == 1.0
    assert ledoit_wolf_shrinkage(moments(np.ones((4, 1)), fourth=True)) == 0.0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"covariance": "mcd"}, ValueError, "covariance must be one of 'oas', .*'mcd'"),
        ({"ridge": -1.0}, ValueError, "ridge must be a number in"),
        ({"n_components": 2}, ValueError, "n_components must be None .* got 2 for"),
        ({"covariance": "ppca", "n_components": 0}, ValueError, "between 1 and 3"),
        ({"covariance": "ppca", "n_components": 4}, ValueError, "between 1 and 3"),
        ({"covariance": "ppca", "n_components": 1.0}, ValueError, r"in \(0, 1\)"),
        ({"covariance": "low_rank", "n_components": "all"}, TypeError, "an int"),
    ],
)
def test_parameters_out_of_range(options, error, match):
    for X in (correlated(9, 3), correlated(2, 3)):
        with pytest.raises(error, match=match):
            factor(moments(X), **options)
        with pytest.raises(error, match=match):
            factor_rows(X, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_not_finite(kind):
    for X in (np.full((2, 3), np.nan), np.full((5, 3), np.inf)):
        with pytest.raises(ValueError, match="X must hold finite values"):
            factor_rows(X, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_ridge_on_degenerate_rows(kind):
    X = np.c_[np.arange(6.0), np.arange(6.0), np.ones(6)]
    for found in (fitted(X, kind, ridge=0.0), factor_rows(X[:2], kind, ridge=0.0)):
        distances = found.squared_distances(X)
        assert np.isfinite(distances).all()
        off = X[:1] + np.array([[9.0, -9.0, 0.0]])
        assert found.squared_distances(off) > distances[0]


@pytest.mark.parametrize("kind", ["oas", "ppca"])
def test_factors_are_plain_data(kind):
    X = correlated(50, 4)
    found = fitted(X, kind)
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.squared_distances(X), found.squared_distances(X))
