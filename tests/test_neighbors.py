"""Nearest neighbours against brute force and scikit-learn."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist

from manifoldgen.neighbors import nearest_neighbors


def brute_force(X, k, queries=None):
    """Sort all distances in float64, ties by the lower index."""
    X = np.asarray(X, dtype=np.float64)
    distances = cdist(X if queries is None else queries, X)
    if queries is None:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("n_queries", [None, 7])
def test_the_neighbours_are_those_of_brute_force(n_queries):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    queries = None if n_queries is None else rng.normal(size=(n_queries, 4))
    found = nearest_neighbors(X, 5, queries=queries)
    indices, distances = brute_force(X, 5, queries)
    assert_array_equal(found.indices, indices)
    assert_allclose(found.distances, distances, rtol=1e-12)
