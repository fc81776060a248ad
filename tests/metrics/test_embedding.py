"""Measures of coordinates against brute force, scikit-learn and small cases by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import pdist

from manifoldgen.metrics import _embedding, shepard_pairs


@pytest.fixture
def map_of_noise():
    """60 rows of 6 columns, and 2 of those as the map."""
    X = np.random.RandomState(0).randn(60, 6)
    return X, X[:, :2].copy()


def test_all_pairs_where_they_are_few(map_of_noise):
    X, Z = map_of_noise
    pairs = shepard_pairs(X, Z)
    assert_allclose(pairs.distances_X, pdist(X), rtol=1e-14)
    assert_allclose(pairs.distances_Z, pdist(Z), rtol=1e-14)


def test_drawn_pairs_are_of_the_same_two_rows(map_of_noise, monkeypatch):
    monkeypatch.setattr(_embedding, "_BLOCK", 50)
    X, Z = map_of_noise
    pairs = shepard_pairs(X, Z, n_pairs=1000, random_state=3)
    places = np.argmin(np.abs(pairs.distances_X[:, None] - pdist(X)), axis=1)
    assert_allclose(pairs.distances_X, pdist(X)[places], rtol=1e-14)
    assert_allclose(pairs.distances_Z, pdist(Z)[places], rtol=1e-14)
    # 1000 draws of 1770 pairs leave exp(-0.565) of them out: 764 +- 17 are seen
    assert len(set(places)) == pytest.approx(764, abs=60)
    again = shepard_pairs(X, Z, n_pairs=1000, random_state=3)
    assert_array_equal(pairs.distances_X, again.distances_X)
    other = shepard_pairs(X, Z, n_pairs=1000, random_state=4)
    assert not np.array_equal(pairs.distances_X, other.distances_X)


@pytest.mark.parametrize("per_draw", [2, 3])
def test_draws_are_of_different_rows_each_as_likely(per_draw):
    drawn = np.array(_embedding._distinct_rows(4, per_draw, 24_000, 0))
    assert (np.sort(drawn, axis=0)[1:] != np.sort(drawn, axis=0)[:-1]).all()
    codes = np.ravel_multi_index(tuple(drawn), (4,) * per_draw)
    counts = np.bincount(codes)
    seen = counts[counts > 0]
    assert len(seen) == {2: 12, 3: 24}[per_draw]
    expected = 24_000 / len(seen)
    assert np.abs(seen - expected).max() < 4.5 * np.sqrt(expected)
