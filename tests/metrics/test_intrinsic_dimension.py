"""Intrinsic dimension against formulas written out and shapes of known dimension."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import make_swiss_roll

from manifoldgen import intrinsic_dimension


def nearest_distances(X, k):
    return np.sort(cdist(X, X), axis=1)[:, 1 : k + 1]


def shapes():
    """Yield 3000 rows of each shape, and its dimension."""
    rng = np.random.RandomState(0)
    for d in (1, 2, 3, 5):
        yield pytest.param(rng.rand(3000, d) @ rng.randn(d, 20), d, id=f"cube {d}")
    yield pytest.param(make_swiss_roll(3000, random_state=0)[0], 2, id="swiss roll")
    sphere = rng.randn(3000, 4)
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    yield pytest.param(sphere, 3, id="sphere")


@pytest.mark.parametrize("method", ["twonn", "mle"])
@pytest.mark.parametrize(("X", "dimension"), list(shapes()))
def test_shapes_of_known_dimension(X, dimension, method):
    # Both fall short near the edges: of 3000 points in 5 dimensions most are near one.
    estimate = intrinsic_dimension(X, method=method)
    assert estimate == pytest.approx(dimension, rel=0.12 if dimension == 5 else 0.08)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_twonn_is_a_least_squares_line_through_the_origin(share):
    X = np.random.RandomState(1).randn(201, 4)
    first, second = nearest_distances(X, 2).T
    x = np.sort(np.log(second / first))[: min(200, int(np.ceil(201 * (1 - share))))]
    y = -np.log(1 - np.arange(1, len(x) + 1) / 201)
    (slope,) = np.linalg.lstsq(x[:, np.newaxis], y, rcond=None)[0]
    ours = intrinsic_dimension(X, discard_fraction=share)
    assert ours == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("k", [2, 10])
def test_mle_is_the_inverse_of_the_mean_of_inverses(k):
    X = np.random.RandomState(2).randn(200, 4)
    near = nearest_distances(X, k)
    inverses = [np.mean([np.log(row[-1] / t) for t in row[:-1]]) for row in near]
    ours = intrinsic_dimension(X, method="mle", n_neighbors=k)
    assert ours == pytest.approx(1 / np.mean(inverses), rel=1e-9)


@pytest.mark.parametrize("method", ["twonn", "mle"])
def test_units_and_containers_do_not_matter(method):
    X = np.random.RandomState(3).randn(300, 4)
    expected = intrinsic_dimension(X, method=method)
    for scale in (1e-200, 1e3, 1e140):
        ours = intrinsic_dimension(scale * X, method=method)
        assert ours == pytest.approx(expected, rel=1e-9)
    assert intrinsic_dimension(pd.DataFrame(X), method=method) == expected
    assert intrinsic_dimension(X.reshape(300, 2, 2), method=method) == expected


@pytest.mark.parametrize("method", ["twonn", "mle"])
def test_duplicates_are_dropped_with_a_warning(method):
    X = np.random.RandomState(4).randn(100, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = intrinsic_dimension(X, method=method)
    with pytest.warns(UserWarning, match="X has 130 rows that repeat others") as caught:
        ours = intrinsic_dimension(np.vstack([X, X, X[:30]]), method=method)
    assert caught[0].filename == __file__
    assert ours == expected


@pytest.mark.parametrize("method", ["twonn", "mle"])
def test_rows_too_close_for_a_square_give_a_finite_figure(method):
    X = np.random.RandomState(5).rand(50, 2)
    X[:10] = X[0]
    X[:10, 1] = 1e-200 * np.arange(10)
    estimate = intrinsic_dimension(X, method=method)
    assert np.isfinite(estimate)
    assert estimate > 0


def test_lattices_are_refused_or_seen_from_farther_off():
    lattice = np.stack(np.mgrid[:30, :30], axis=-1).reshape(-1, 2)
    with pytest.raises(ValueError, match="all 2 are equally far, as on a lattice"):
        intrinsic_dimension(lattice)
    # the distances of a lattice come in steps, so the figure is a rough one
    estimate = intrinsic_dimension(lattice, method="mle", n_neighbors=60)
    assert estimate == pytest.approx(2.0, rel=0.1)
    with pytest.raises(ValueError, match="all 15 are equally far"):
        intrinsic_dimension(np.eye(20), method="mle")


def test_bad_arguments_are_explained():
    X = np.random.RandomState(6).randn(20, 3)
    with pytest.raises(ValueError, match="method must be one of 'twonn', 'mle'"):
        intrinsic_dimension(X, method="pca")
    with pytest.raises(ValueError, match=r"between 2 and 19, got 20\. X has 20 diff"):
        intrinsic_dimension(X, method="mle", n_neighbors=20)
    with pytest.raises(
        ValueError, match=r"discard_fraction must be a number in \[0, 1"
    ):
        intrinsic_dimension(X, discard_fraction=1.0)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        intrinsic_dimension(np.where(X == X[3, 1], np.nan, X))
    with pytest.raises(ValueError, match="at least 3 different rows, got 2"):
        intrinsic_dimension(X[:2])
