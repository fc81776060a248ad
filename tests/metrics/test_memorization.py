"""Near-copies and membership against brute force."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from manifoldgen.metrics import membership_auc, near_copy_share
from manifoldgen.neighbors import _distances


def brute_near_copies(train, generated):
    among = cdist(train, train)
    np.fill_diagonal(among, np.inf)
    across = cdist(generated, train)
    nearest = across.argmin(axis=1)
    return np.mean(across.min(axis=1) <= among.min(axis=1)[nearest])


@pytest.mark.parametrize("seed", range(3))
def test_near_copy_share_is_the_brute_force_one(seed, monkeypatch):
    monkeypatch.setattr(_distances, "_BLOCK", 200)
    rng = np.random.RandomState(seed)
    train, generated = rng.randn(70, 4), rng.randn(90, 4)
    assert near_copy_share(train, generated) == brute_near_copies(train, generated)


def test_near_copy_share_tells_copies_from_new_rows():
    rng = np.random.RandomState(9)
    train, held_out = rng.randn(400, 6), rng.randn(400, 6)
    assert near_copy_share(train, train[::-1]) == 1.0
    assert near_copy_share(train, train + 1e-3) == 1.0
    assert near_copy_share(train, train + 50.0) == 0.0
    assert 0.3 < near_copy_share(train, held_out) < 0.7
    # A copy of a row that has a twin in the training rows is a copy.
    assert near_copy_share(np.vstack([train, train[:5]]), train[:5]) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_membership_is_the_auc_of_the_nearest_generated_row(seed):
    rng = np.random.RandomState(seed)
    train, test, generated = rng.randn(60, 3), rng.randn(40, 3), rng.randn(50, 3)
    near = -cdist(np.vstack([train, test]), generated).min(axis=1)
    expected = roc_auc_score([1] * 60 + [0] * 40, near)
    assert membership_auc(train, test, generated) == pytest.approx(expected, abs=1e-12)


def test_membership_leaks_from_copies_alone():
    rng = np.random.RandomState(10)
    train, test, other = rng.randn(3, 500, 4)
    assert membership_auc(train, test, train[::-1]) == 1.0
    assert membership_auc(test, train, train) == 0.0
    error = np.sqrt(2 / 500 / 12)
    assert abs(membership_auc(train, test, other) - 0.5) < 4 * error
    # rows at the same distance count half
    assert membership_auc([[0.0], [2.0]], [[0.0], [2.0]], [[1.0]]) == 0.5


def test_bad_input_is_refused():
    X = np.random.RandomState(11).randn(20, 3)
    with pytest.raises(ValueError, match="at least 2 rows"):
        near_copy_share(X[:1], X)
    with pytest.raises(ValueError, match="X_train and X_test must have as many"):
        membership_auc(X, X[:, :2], X)
    with pytest.raises(ValueError, match="X_train and X_generated must have as many"):
        membership_auc(X, X, X[:, :2])
