"""The robust factor on rows with outliers, on clean rows, and on rows that bar it."""

import numpy as np
import pytest
from sklearn.covariance import MinCovDet
from sklearn.metrics import roc_auc_score

from manifoldgen.covariance import factor, moments, robust_factor
from manifoldgen.covariance._robust import consistency_factor


def with_outliers(n, d, share, seed=0):
    """Return rows of variances 1 to 4, the first of which are far, and which."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.linspace(1, 2, d)
    far = np.arange(n) < share * n
    X[far] = 0.5 * X[far] + 8.0
    return X, far


@pytest.mark.parametrize(("n", "seed"), [(300, 0), (4000, 0), (4000, 1), (4000, 2)])
def test_outliers_leave_mean_and_covariance_alone(n, seed):
    X, far = with_outliers(n, 4, 0.25)
    found = robust_factor(X, n_components=4, random_state=seed)
    exact = np.diag(np.linspace(1, 2, 4) ** 2)
    noise = 4 / np.sqrt(0.75 * n)
    assert np.abs(found.location).max() < 2 * noise
    assert np.abs(found.covariance() - exact).max() < 4 * 2 * noise
    distances = found.squared_distances(X)
    assert distances[far].min() > distances[~far].max()
    # outliers so many hide themselves from the covariance that they are part of
    assert np.median(factor(moments(X)).squared_distances(X)[far]) < 6


def test_clean_gaussian_rows_have_their_own_covariance():
    X, _ = with_outliers(20000, 5, 0.0)
    for n_components in (5, 2):
        found = robust_factor(X, n_components=n_components, random_state=0)
        ratio = np.trace(found.covariance()) / np.trace(np.cov(X.T))
        assert ratio == pytest.approx(1.0, abs=0.01)


def test_few_rows_are_scikit_learns_up_to_its_consistency():
    X, _ = with_outliers(200, 3, 0.2)
    found = robust_factor(X, n_components=3, random_state=0)
    peer = MinCovDet(random_state=0).fit(X)
    np.testing.assert_allclose(found.location, peer.location_, atol=0.1)
    theirs = peer.covariance_ / np.trace(peer.covariance_)
    ours = found.covariance() / np.trace(found.covariance())
    np.testing.assert_allclose(ours, theirs, atol=0.02)


@pytest.mark.parametrize(("share", "n_features"), [(0.5, 1), (0.975, 4)])
def test_consistency_is_that_of_a_truncated_gaussian(share, n_features):
    draws = np.random.default_rng(0).standard_normal((200_000, n_features))
    squares = np.einsum("ij,ij->i", draws, draws)
    inner = draws[squares <= np.quantile(squares, share)]
    expected = 1 / (inner**2).mean()
    assert consistency_factor(share, n_features) == pytest.approx(expected, rel=0.02)


def test_outliers_off_the_directions_are_left_out_too():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 30)) * np.r_[np.full(3, 10.0), np.full(27, 0.1)]
    far = np.arange(1000) < 200
    X[far, 3:] += 0.5 * rng.standard_normal((200, 27))
    found = robust_factor(X, n_components=3, random_state=0)
    np.testing.assert_allclose(found.covariance()[10, 10], 0.01, rtol=0.2)
    assert roc_auc_score(far, found.squared_distances(X)) > 0.999


def test_many_columns_are_searched_along_their_leading_directions():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 300))
    X += 0.01 * rng.standard_normal(X.shape)
    X[:40] += 20.0
    found = robust_factor(X, random_state=0)
    assert found.basis.shape[1] <= 7
    distances = found.squared_distances(X)
    assert distances[:40].min() > distances[40:].max()


def test_one_seed_is_one_result_and_no_global_generator_is_touched():
    X, _ = with_outliers(4000, 3, 0.1)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = (robust_factor(X, random_state=3) for _ in range(2))
    assert np.array_equal(first.covariance(), again.covariance())
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("X", "n_components", "match"),
    [
        (np.ones((4, 2)), None, "at least 5 rows .* got 4.* Use covariance='oas'"),
        (np.ones((50, 2)), None, "X must vary .* all the same"),
        (
            with_outliers(40, 20, 0)[0],
            20,
            "between 1 and 8, got 20.* five rows for each, .* 40 rows",
        ),
        (
            np.c_[with_outliers(90, 3, 0)[0], np.ones(90)],
            4,
            "between 1 and 3, got 4.* 4 columns vary along 3 directions only",
        ),
        (
            np.random.default_rng(0).standard_normal((800, 784)),
            784,
            "between 1 and 100, got 784.* Pass n_components=None",
        ),
        (with_outliers(40, 3, 0)[0], 2.5, r"n_components must be a number in \(0, 1\)"),
        (
            np.c_[np.arange(60) % 2.0, np.r_[np.zeros(50), np.arange(10.0)]],
            2,
            "half of them flat .* use covariance='ppca'",
        ),
        (
            np.r_[np.zeros((80, 5)), with_outliers(20, 5, 0)[0]],
            None,
            "half of them flat .* use covariance='ppca'",
        ),
    ],
    ids=["rows", "constant", "few", "columns", "pixels", "share", "flat", "alike"],
)
@pytest.mark.filterwarnings("ignore:The covariance matrix associated")
def test_rows_that_bar_it(X, n_components, match):
    with pytest.raises(ValueError, match=match):
        robust_factor(X, n_components=n_components, random_state=0)
