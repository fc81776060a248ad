"""Moments of classes against those of their rows taken one class at a time."""

from functools import reduce

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from manifoldgen.covariance import (
    ClassMoments,
    class_moments,
    factor,
    ledoit_wolf_shrinkage,
    moments,
)


@pytest.fixture(scope="module")
def labelled():
    rng = np.random.default_rng(0)
    y = rng.choice(["a", "b", "c"], size=40000, p=[0.6, 0.39, 0.01])
    return rng.standard_normal((40000, 3)) + (y == "a")[:, None] * 4.0, y


def same(found, exact):
    assert found.n_samples == exact.n_samples
    np.testing.assert_allclose(found.mean, exact.mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.scatter, exact.scatter, rtol=1e-9, atol=1e-9)


def test_parts_total_and_tied_are_those_of_the_rows(labelled):
    X, y = labelled
    found = class_moments(X, y)
    assert found.classes.tolist() == ["a", "b", "c"]
    assert found.n_samples == len(X)
    for label, part in zip(found.classes, found.parts, strict=True):
        same(part, moments(X[y == label]))
    same(found.total, moments(X))
    same(found.total, reduce(lambda a, b: a.merge(b), found.parts))
    scatters = sum(part.scatter for part in found.parts)
    np.testing.assert_allclose(found.tied.scatter, scatters, rtol=1e-12)
    np.testing.assert_allclose(found.tied.mean, X.mean(axis=0))
    residuals = X - found.means[np.searchsorted(found.classes, y)]
    np.testing.assert_allclose(found.tied.covariance, np.cov(residuals.T, bias=True))


def test_chunks_of_which_few_hold_every_class(labelled):
    X, y = labelled
    order = np.argsort(y, kind="stable")
    chunks = ((X[part], y[part]) for part in np.array_split(order, 9))
    found, exact = class_moments(chunks), class_moments(X, y)
    assert found.classes.tolist() == exact.classes.tolist()
    for part, whole in zip(found.parts, exact.parts, strict=True):
        same(part, whole)


def test_rows_are_taken_out_and_a_class_with_its_last(labelled):
    X, y = labelled[0][:500], labelled[1][:500]
    out = (np.arange(500) % 3 == 0) | (y == "c")
    found = class_moments(X, y).without(class_moments(X[out], y[out]))
    exact = class_moments(X[~out], y[~out])
    assert found.classes.tolist() == ["a", "b"]
    for part, whole in zip(found.parts, exact.parts, strict=True):
        same(part, whole)
    with pytest.raises(ValueError, match="that are here, 0 of class 'c', got"):
        found.without(class_moments(X[out], y[out]))
    with pytest.raises(ValueError, match="must leave a row, got all"):
        found.without(exact)


def test_a_class_of_one_row():
    X = np.array([[0.0, 1.0], [2.0, 5.0], [4.0, 3.0]])
    found = class_moments(X, [7, 3, 7], fourth=True)
    assert found.classes.tolist() == [3, 7]
    alone = found.parts[0]
    np.testing.assert_array_equal(alone.mean, X[1])
    assert not alone.scatter.any()
    np.testing.assert_allclose(found.tied.scatter, [[8.0, 4.0], [4.0, 2.0]])
    for kind in ("oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank"):
        here, beside = factor(alone, kind).squared_distances(X[:2][::-1])
        assert here == 0
        assert 1e3 < beside < np.inf


def test_tied_moments_shrink_as_the_residuals_do():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 60)
    X = rng.standard_normal((60, 8)) * np.linspace(1, 3, 8) + 5.0 * y[:, None]
    found = class_moments(X, y, fourth=True)
    residuals = X - found.means[y]
    peer = LedoitWolf(assume_centered=True).fit(residuals)
    assert ledoit_wolf_shrinkage(found.tied) == pytest.approx(peer.shrinkage_, rel=1e-8)


def test_as_many_classes_as_rows():
    X = np.random.default_rng(0).standard_normal((30, 2))
    found = class_moments(X, np.arange(30))
    np.testing.assert_array_equal(found.means, X)
    assert not found.tied.scatter.any()
    same(found.total, moments(X))


@pytest.mark.parametrize(
    ("X", "y", "error", "match"),
    [
        (np.ones((3, 2)), np.ones(2), ValueError, "one label for each of the 3 rows"),
        (np.ones((3, 2)), np.ones((3, 1)), ValueError, r"got an array of .*\(3, 1\)"),
        (np.ones((2, 2)), [0.0, np.nan], ValueError, "y must hold labels, got NaN"),
        (np.ones((0, 2)), [], ValueError, "X must have at least one row, got none"),
        (np.full((2, 2), np.nan), [0, 1], ValueError, "X must hold finite values"),
        ([np.ones((3, 2))], None, TypeError, "chunk 0 of X must be a pair of rows"),
        ([(np.ones((3, 2)), [0, 1])], None, ValueError, "3 rows of chunk 0 of X"),
    ],
)
def test_what_is_not_labelled_rows(X, y, error, match):
    with pytest.raises(error, match=match):
        class_moments(X, y)


def test_class_moments_are_plain_data():
    part = moments(np.ones((2, 1)))
    found = ClassMoments(np.array([0]), (part,)).merge(
        ClassMoments(np.array([1]), (part,))
    )
    assert found.classes.tolist() == [0, 1]
