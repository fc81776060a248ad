"""Measures of coordinates against brute force, scikit-learn and small cases by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist, pdist
from scipy.stats import pearsonr, spearmanr
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from manifoldgen.metrics import (
    _embedding,
    neighbor_label_accuracy,
    round_trip_error,
    shepard_correlation,
    shepard_pairs,
    triplet_accuracy,
)


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


def brute_triplets(X, Z):
    """Ask each row of every three which of the two others is nearer."""
    in_X, in_Z = cdist(X, X), cdist(Z, Z)
    points = []
    for i in range(len(X)):
        for j, k in combinations(np.delete(np.arange(len(X)), i), 2):
            a, b = (np.sign(round(d[i, j] - d[i, k], 9)) for d in (in_X, in_Z))
            points.append(1.0 if a == b else 0.5 if 0 in (a, b) else 0.0)
    return np.mean(points)


def test_shepard_correlation_is_scipys(map_of_noise):
    X, Z = map_of_noise
    pairs = pdist(X), pdist(Z)
    expected = spearmanr(*pairs).statistic
    assert shepard_correlation(X, Z) == pytest.approx(expected, rel=1e-12)
    expected = pearsonr(*pairs).statistic
    ours = shepard_correlation(X, Z, method="pearson")
    assert ours == pytest.approx(expected, rel=1e-12)
    grid = np.round(X)  # with ties, which share their mean rank
    expected = spearmanr(pdist(grid), pdist(grid[:, :2])).statistic
    ours = shepard_correlation(grid, grid[:, :2])
    assert ours == pytest.approx(expected, rel=1e-12)


def test_the_order_of_distances_counts_or_they_themselves():
    X = np.array([[0.0], [1.0], [3.0], [7.0]])
    # distances 1 3 7 2 6 4 become 1 9 49 8 48 40: in the same order, not in line
    Z = X**2
    assert shepard_correlation(X, Z) == 1.0
    assert shepard_correlation(X, Z, method="pearson") < 0.99
    assert shepard_correlation(X, 3 * X, method="pearson") == pytest.approx(1.0)
    line = np.array([[0.0], [1.0], [3.0]])
    # 1 3 2 become 3 1 2
    assert shepard_correlation(line, [[0.0], [3.0], [1.0]]) == -1.0


def test_distances_that_tell_nothing_correlate_with_none(map_of_noise):
    X, Z = map_of_noise
    for method in ("spearman", "pearson"):
        assert shepard_correlation(X, np.zeros((60, 2)), method=method) == 0.0
        assert shepard_correlation(np.ones((60, 2)), Z, method=method) == 0.0
        assert shepard_correlation(X[:2], Z[:2], method=method) == 0.0


def test_figures_of_drawn_rows_are_near_those_of_all(map_of_noise):
    X, Z = map_of_noise
    few = shepard_correlation(X, Z, n_pairs=1500)
    assert few == pytest.approx(shepard_correlation(X, Z), abs=0.06)
    few = triplet_accuracy(X, Z, n_triplets=4000)
    # a standard error of 0.5 / sqrt(4000)
    assert few == pytest.approx(triplet_accuracy(X, Z), abs=0.03)
    assert few == triplet_accuracy(X, Z, n_triplets=4000)
    assert few != triplet_accuracy(X, Z, n_triplets=4000, random_state=1)


def test_triplets_are_those_of_every_three_rows(map_of_noise):
    X, Z = map_of_noise
    X, Z = X[:25], Z[:25]
    assert triplet_accuracy(X, Z) == pytest.approx(brute_triplets(X, Z), abs=1e-12)
    grid = np.round(2 * X)
    expected = brute_triplets(grid, grid[:, :1])
    assert triplet_accuracy(grid, grid[:, :1]) == pytest.approx(expected, abs=1e-12)


def test_triplets_by_hand():
    # From row 0 the map turns the order round, from 1 and 2 it makes ties of it.
    X = [[0.0], [1.0], [3.0]]
    Z = [[0.0, 0.0], [2.0, 0.0], [1.0, 0.0]]
    # row 0: 1 < 3 and 2 > 1: 0. Row 1: 1 < 2 and 2 > 1: 0. Row 2: 3 > 2 and 1 = 1: 1/2
    assert triplet_accuracy(X, Z) == pytest.approx(1 / 6)


def test_perfect_and_random_maps(map_of_noise):
    X, _ = map_of_noise
    rng = np.random.RandomState(1)
    many = rng.randn(3000, 4)
    shuffled = many[rng.permutation(3000)]
    for rows in (X, np.round(X), np.zeros((60, 2))):
        assert triplet_accuracy(rows, rows) == 1.0
    assert shepard_correlation(X, X) == 1.0
    # rows far from all others are in many pairs, which adds to the spread of drawing
    assert triplet_accuracy(many, shuffled) == pytest.approx(0.5, abs=0.03)
    assert shepard_correlation(many, shuffled) == pytest.approx(0.0, abs=0.05)
    assert triplet_accuracy(X, np.zeros((60, 2))) == 0.5


@pytest.mark.parametrize("k", [1, 4, 15])
@pytest.mark.parametrize("n_classes", [2, 7])
def test_label_accuracy_is_that_of_scikit_learns_classifier(k, n_classes, monkeypatch):
    monkeypatch.setattr(_embedding, "_BLOCK", 50)
    rng = np.random.RandomState(2)
    Z, y = rng.randn(200, 2), rng.randint(n_classes, size=200)
    Z_test, y_test = rng.randn(80, 2), rng.randint(n_classes, size=80)
    names = np.array(list("gfedcba"))
    model = KNeighborsClassifier(k).fit(Z, names[y])
    expected = model.score(Z_test, names[y_test])
    ours = neighbor_label_accuracy(
        Z, names[y], Z_test=Z_test, y_test=names[y_test], n_neighbors=k
    )
    assert ours == expected


def test_label_accuracy_leaves_a_row_out_of_its_own_vote():
    rng = np.random.RandomState(3)
    Z, y = rng.randn(60, 2), rng.randint(3, size=60)
    distances = cdist(Z, Z)
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1)[:, :5]
    expected = np.mean(
        [np.bincount(y[row]).argmax() == own for row, own in zip(near, y, strict=True)]
    )
    assert neighbor_label_accuracy(Z, y, n_neighbors=5) == expected
    assert (
        neighbor_label_accuracy(pd.DataFrame(Z), pd.Series(y), n_neighbors=5)
        == expected
    )


def test_label_accuracy_by_hand():
    Z, y = [[0.0], [1.0], [2.0], [9.0]], ["b", "b", "a", "a"]
    # the nearest: b of b, b of b (a tie, the lower index), b of a, a of a
    assert neighbor_label_accuracy(Z, y, n_neighbors=1) == 0.75
    # all four vote and two labels tie: the lower one wins; "c" cannot be named
    ours = neighbor_label_accuracy(
        Z, y, Z_test=[[0.0], [0.0], [0.0]], y_test=["a", "b", "c"], n_neighbors=4
    )
    assert ours == pytest.approx(1 / 3)


def test_round_trip_error_is_the_unexplained_standard_deviation():
    X, _ = load_iris(return_X_y=True)
    pca = PCA(1).fit(X)
    error = round_trip_error(X, pca.inverse_transform(pca.transform(X)))
    lost = 1 - pca.explained_variance_ratio_.sum()
    assert error == pytest.approx(np.sqrt(lost), rel=1e-9)
    assert round_trip_error(X, X) == 0.0
    mean = np.broadcast_to(X.mean(axis=0), X.shape)
    assert round_trip_error(X, mean) == pytest.approx(1.0)
    # sqrt(1 + 1) over sqrt(4 + 4), in any units and from any origin
    assert round_trip_error([[0.0], [4.0]], [[1.0], [3.0]]) == pytest.approx(0.5)
    assert round_trip_error([[70.0], [74.0]], [[71.0], [73.0]]) == pytest.approx(0.5)
    images = X.reshape(150, 2, 2)
    assert round_trip_error(images, images + 1) == round_trip_error(X, X + 1)


def test_equal_rows_have_no_spread_to_measure_by():
    same = np.full((5, 2), 0.1)
    assert round_trip_error(same, same) == 0.0
    with pytest.raises(ValueError, match="A must have rows that differ"):
        round_trip_error(same, same + 1)


def test_the_global_generator_is_left_alone(map_of_noise):
    X, Z = map_of_noise
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for seed in (0, None):
        shepard_correlation(X, Z, n_pairs=10, random_state=seed)
        triplet_accuracy(X, Z, n_triplets=10, random_state=seed)
    assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    "figure", [shepard_pairs, shepard_correlation, triplet_accuracy]
)
def test_bad_rows_are_refused(figure, map_of_noise):
    X, Z = map_of_noise
    with pytest.raises(ValueError, match="as many rows as each other, got 60 and 59"):
        figure(X, Z[1:])
    with pytest.raises(ValueError, match="Input Z contains NaN"):
        figure(X, np.where(Z == Z[3, 1], np.nan, Z))
    with pytest.raises(ValueError, match=r"X must hold values up to 1e150, .* 1e\+200"):
        figure(np.where(X == X[3, 1], 1e200, X), Z)
    with pytest.raises(ValueError, match=r"minimum of [23] is required"):
        figure(X[:1], Z[:1])
    count = "n_triplets" if figure is triplet_accuracy else "n_pairs"
    with pytest.raises(ValueError, match=f"{count} must be an int >= 1, got 0"):
        figure(X, Z, **{count: 0})
    with pytest.raises(ValueError, match="random_state must be None"):
        figure(X, Z, random_state="a", **{count: 5})


def test_bad_labels_are_explained(map_of_noise):
    _, Z = map_of_noise
    y = np.arange(60) % 3
    with pytest.raises(ValueError, match="y must have one label for each of the 60"):
        neighbor_label_accuracy(Z, y[1:])
    with pytest.raises(ValueError, match="given together or not at all"):
        neighbor_label_accuracy(Z, y, Z_test=Z)
    with pytest.raises(ValueError, match="y_test must have one label for each of the"):
        neighbor_label_accuracy(Z, y, Z_test=Z[:5], y_test=y[:4])
    with pytest.raises(ValueError, match="as many columns as each other, got 2 and 1"):
        neighbor_label_accuracy(Z, y, Z_test=Z[:5, :1], y_test=y[:5])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        neighbor_label_accuracy(Z, Z[:, 0])
    with pytest.raises(ValueError, match=r"between 1 and 59, got 60\. Z has 60 rows"):
        neighbor_label_accuracy(Z, y, n_neighbors=60)


def test_bad_round_trips_and_methods_are_explained(map_of_noise):
    X, Z = map_of_noise
    with pytest.raises(ValueError, match=r"same shape, got \(60, 6\) and \(60, 2\)"):
        round_trip_error(X, Z)
    with pytest.raises(ValueError, match="Input A_back contains NaN"):
        round_trip_error(X, np.full_like(X, np.nan))
    with pytest.raises(ValueError, match="method must be one of 'spearman', 'pearson'"):
        shepard_correlation(X, Z, method="kendall")
