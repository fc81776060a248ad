"""Shrinkage against the formulas of the papers and scikit-learn."""

import numpy as np
import pytest
from sklearn.covariance import OAS

from manifoldgen.covariance import (
    moments,
    oas_shrinkage,
    shrink,
)


def correlated(n, d, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    mixing = np.eye(d) + 0.3 * rng.standard_normal((d, d))
    return (rng.standard_normal((n, d)) @ mixing + 3.0).astype(dtype)


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
