"""NeighborManifold: its graph and kernel, odd data, and taking new rows in."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from manifoldgen import NeighborManifold
from manifoldgen.manifold import _coarse_map
from manifoldgen.manifold._coarse_map import coarse_map
from manifoldgen.manifold._neighbor import _within
from manifoldgen.manifold._neighbor_graph import training_graph, umap_kernel

pytestmark = [
    pytest.mark.filterwarnings("ignore:The graph of neighbours falls into"),
    pytest.mark.filterwarnings("ignore:.*too large for the"),
    pytest.mark.filterwarnings("ignore:All rows of X are equal"),
]

TINY = NeighborManifold(
    n_neighbors=8, hidden_sizes=(16,), n_landmarks=20, max_epochs=2, random_state=0
)


def graph_of(rows, labels=None, n_neighbors=5):
    return training_graph(rows, labels, n_neighbors, "euclidean", 0)


# -------------------------------------------------------------------------- the graph


@pytest.mark.parametrize(
    ("min_dist", "spread"), [(0.1, 1.0), (0.01, 1.0), (0.0, 1.0), (0.5, 2.0)]
)
def test_the_kernel_is_umap_learns(min_dist, spread):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap.umap_ import find_ab_params

        expected = find_ab_params(spread, min_dist)
    assert_allclose(umap_kernel(min_dist, spread), expected, rtol=1e-6)


def test_the_graph_by_brute_force(digits):
    rows = digits[0][:80].astype(float)
    rows[40] = rows[3]
    neighbors, isolated = graph_of(rows)
    apart = np.linalg.norm(rows[:, np.newaxis] - rows, axis=2)
    for row, found in enumerate(neighbors):
        others = np.flatnonzero(apart[row] > 0)
        others = others[others != 40]  # the copy of row 3
        nearest = np.sort(apart[row, others])[:5]
        assert_allclose(apart[row, found], nearest)
        assert len(set(found)) == 5
        assert not set(found) & {row, 40}
    assert_array_equal(neighbors[40], neighbors[3])
    assert not isolated.any()


def test_no_edge_joins_two_known_classes(digits):
    rows, labels = digits[0][:150], digits[1][:150].copy()
    # pixels are whole numbers: without noise many distances are equal
    rows = rows + 1e-3 * np.random.RandomState(0).standard_normal(rows.shape)
    labels[::4] = -1
    neighbors, _ = graph_of(rows, labels)
    assert neighbors.shape == (150, 10)
    here, there = labels[:, np.newaxis], labels[neighbors]
    assert not ((here != there) & (here >= 0) & (there >= 0)).any()
    assert (neighbors != np.arange(150)[:, np.newaxis]).all()
    plain, _ = graph_of(rows)
    for row in range(150):
        allowed = {i for i in plain[row] if labels[i] == -1 or labels[row] == -1}
        allowed |= {i for i in plain[row] if labels[i] == labels[row]}
        mates = np.flatnonzero((labels == labels[row]) & (labels[row] >= 0))
        mates = mates[mates != row]
        near = np.linalg.norm(rows[mates] - rows[row], axis=1)
        expected = allowed | set(mates[np.argsort(near, kind="stable")[:5]])
        assert set(neighbors[row]) == expected


def test_a_row_that_is_alone_in_its_class_is_pulled_by_nothing():
    rows, labels = np.arange(6.0)[:, np.newaxis], np.array([0, 0, 0, 1, 2, 2])
    neighbors, _ = graph_of(rows, labels, 2)
    assert_array_equal(np.unique(neighbors[3]), [3])


def test_neighbours_that_are_held_out_give_way():
    neighbors = np.array([[1, 2], [0, 3], [3, 0], [2, 1]])
    found = _within(neighbors, np.array([0, 2, 3]))
    # rows 0, 2, 3 are now 0, 1, 2: row 1 is gone
    assert_array_equal(found, [[1, 1], [2, 0], [1, 1]])
    assert_array_equal(_within(np.array([[1], [0], [1]]), np.array([0, 2])), [[0], [1]])
    assert _within(neighbors, np.arange(4)) is neighbors


# --------------------------------------------------------------------------- odd data


@pytest.mark.parametrize("objective", ["infonce", "negative_sampling"])
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_few_rows(n, objective, digits):
    manifold = clone(TINY).set_params(objective=objective).fit(digits[0][:n])
    Z = manifold.transform(digits[0])
    assert np.isfinite(Z).all()
    assert np.isfinite(manifold.inverse_transform(Z)).all()
    manifold.partial_fit(digits[0][n : n + 1])
    assert np.isfinite(manifold.transform(digits[0])).all()


def test_equal_rows_and_blobs_apart():
    with pytest.warns(UserWarning, match="All rows of X are equal"):
        manifold = clone(TINY).fit(np.ones((20, 3)))
    assert np.isfinite(manifold.embedding_).all()
    rows = np.random.RandomState(0).standard_normal((90, 3))
    rows[60:] += 1000
    with pytest.warns(UserWarning, match="falls into 2 parts.* 30 of 90"):
        manifold = clone(TINY).fit(rows)
    assert_array_equal(manifold.isolated_, np.arange(90) >= 60)
    assert np.isfinite(manifold.embedding_).all()


def test_copies_share_a_place(digits):
    rows = np.repeat(digits[0][:40], 5, axis=0)
    manifold = clone(TINY).fit(rows)
    assert_array_equal(manifold.embedding_, np.repeat(manifold.embedding_[::5], 5, 0))
    assert_array_equal(manifold.transform(rows), manifold.embedding_)


def test_terms_of_the_history(digits):
    manifold = clone(TINY).fit(digits[0])
    row = manifold.history_.rows[-1]
    assert "anchor" not in row
    assert row["loss"] == pytest.approx(row["neighborhood"] + row["reconstruction"])
    row = manifold.partial_fit(digits[0][:50] + 0.5).history_.rows[-1]
    terms = row["neighborhood"], row["reconstruction"], row["anchor"]
    assert row["loss"] == pytest.approx(sum(terms), rel=1e-5)


# ------------------------------------------------------------------------ taking in


def test_new_rows_move_the_old_ones_by_two_percent_at_most(digits):
    X = digits[0]
    manifold = NeighborManifold(max_epochs=60, random_state=0).fit(X[:450])
    before = manifold.transform(X[:450])
    manifold.partial_fit(X[450:])
    moved = np.linalg.norm(manifold.transform(X[:450]) - before, axis=1)
    assert np.median(moved) <= 0.02 * before.std()
    assert manifold.embedding_.shape == (50, 2)
    assert_array_equal(manifold.embedding_, manifold.transform(X[450:]))


def test_anchors_are_those_seen_and_no_more_than_their_most(digits, monkeypatch):
    X = digits[0].astype(float)
    manifold = clone(TINY).fit(X[:60])
    manifold.partial_fit(X[60:90]).partial_fit(X[90:95])
    assert manifold._n_seen == 95
    assert {*map(tuple, manifold._anchors)} == {*map(tuple, X[:95])}
    monkeypatch.setattr("manifoldgen.manifold._neighbor._MAX_ANCHORS", 40)
    manifold = clone(TINY).fit(X[:60])
    assert len(manifold._anchors) == 40
    manifold.partial_fit(X[60:120])
    assert len(manifold._anchors) == 40
    n_new = len({*map(tuple, manifold._anchors)} & {*map(tuple, X[60:120])})
    assert n_new == 20  # half of the 120 that were seen


def test_bytes_and_floats_of_images_are_taken_in_alike(digits):
    images = (digits[0] * 15).astype(np.uint8).reshape(-1, 8, 8)
    manifold = clone(TINY).fit(images[:100])
    assert manifold._anchors.dtype == np.uint8
    other = clone(manifold).fit(images[:100])
    manifold.partial_fit(images[100:120])
    other.partial_fit(images[100:120].astype(np.float32))
    assert_allclose(manifold.transform(images), other.transform(images), atol=1e-3)


def test_anchors_of_floats_keep_their_fractions_beside_bytes(digits):
    images = digits[0][:100].reshape(-1, 8, 8) + 0.5
    manifold = clone(TINY).fit(images)
    manifold.partial_fit(digits[0][100:110].reshape(-1, 8, 8).astype(np.uint8))
    old = manifold._anchors[manifold._anchors[:, 0] % 1 == 0.5]
    assert len(old) == 100


def test_the_first_partial_fit_is_fit(digits):
    one, other = clone(TINY).fit(digits[0]), clone(TINY).partial_fit(digits[0])
    assert_array_equal(one.embedding_, other.embedding_)
    one.partial_fit(digits[0][:20] + 0.5)
    other.partial_fit(digits[0][:20] + 0.5)
    assert_array_equal(one.embedding_, other.embedding_)


def test_warm_start_goes_on_and_says_where_it_cannot(digits):
    X = digits[0]
    manifold = clone(TINY).set_params(warm_start=True, max_epochs=30).fit(X)
    first = manifold.history_["loss"][0]
    assert manifold.fit(X).history_["loss"][0] < first
    before = dict(vars(manifold.set_params(hidden_sizes=(9,))))
    with pytest.raises(ValueError, match="networks of the same shapes"):
        manifold.fit(X)
    assert vars(manifold) == before


def test_a_killed_fit_resumes_with_the_same_result(digits, tmp_path):
    X = digits[0][:200]
    straight = clone(TINY).set_params(max_epochs=6).fit(X)

    def kill(row):
        if row["epoch"] == 3:
            raise SystemExit

    settings = {"max_epochs": 6, "checkpoint": tmp_path}
    with pytest.raises(SystemExit):
        clone(TINY).set_params(**settings, callbacks=[kill]).fit(X)
    again = clone(TINY).set_params(**settings).fit(X)
    assert_array_equal(again.embedding_, straight.embedding_)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- the rough map


def test_rows_beyond_the_rough_map_are_beside_their_nearest(digits, monkeypatch):
    monkeypatch.setattr(_coarse_map, "_SOME", 60)
    rows = digits[0][:100].astype(float)
    rows[70] = rows[5]
    places = coarse_map(rows, None, 2, "euclidean", 20, np.random.RandomState(0))
    assert places.dtype == np.float32
    once = np.delete(places, 70, axis=0)
    assert_allclose(once.mean(axis=0), 0, atol=1e-6)
    assert_allclose(np.square(once).mean(), 1, rtol=1e-5)
    assert_array_equal(places[70], places[5])
    # of 99 distinct rows, 60 are mapped: those the same stream chooses
    distinct = np.delete(np.arange(100), 70)
    chosen = distinct[np.sort(np.random.RandomState(0).permutation(99)[:60])]
    for row in np.setdiff1d(distinct, chosen):
        apart = np.linalg.norm(rows[chosen] - rows[row], axis=1)
        nearest = chosen[np.argsort(apart, kind="stable")[:5]]
        expected = np.median(places[nearest].astype(float), axis=0)
        assert_allclose(places[row], expected, rtol=1e-4, atol=1e-5)


def test_labels_draw_the_rough_map_apart(digits):
    rows = digits[0][:120].astype(float)
    labels = np.arange(120) % 2  # of which the pixels know nothing

    def gap(places):
        one, two = (places[labels == label].mean(axis=0) for label in (0, 1))
        return np.linalg.norm(one - two)

    stream = np.random.RandomState
    blind = coarse_map(rows, None, 2, "euclidean", 20, stream(0))
    seen = coarse_map(rows, labels, 2, "euclidean", 20, stream(0))
    assert gap(seen) > 3 * gap(blind)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_rows_too_few_for_a_rough_map_begin_at_the_centre(n):
    rows = np.repeat(np.arange(n, dtype=float), 4)[:, np.newaxis]
    places = coarse_map(rows, None, 2, "euclidean", 20, np.random.RandomState(0))
    assert_array_equal(places, np.zeros((4 * n, 2)))


def test_max_time_counts_the_rough_map(digits):
    X = digits[0]
    manifold = clone(TINY).set_params(max_epochs=5000, max_time=0.01).fit(X)
    assert manifold.n_epochs_ == 1


def test_the_kernel_of_a_small_spread_is_that_of_a_large_one_scaled():
    a, b = umap_kernel(0.1, 1.0)
    small, same = umap_kernel(0.001, 0.01)
    assert_allclose([small * 0.01 ** (2 * b), same], [a, b], rtol=1e-9)


@pytest.mark.parametrize(
    "change", [{"objective": "negative_sampling"}, {"n_landmarks": 0}]
)
def test_training_goes_on_for_the_same_map_alone(change, digits):
    X = digits[0][:60]
    manifold = clone(TINY).fit(X).set_params(**change)
    with pytest.raises(ValueError, match=r"Training on from fitted weights needs"):
        manifold.partial_fit(X)


def test_the_width_stays(digits):
    manifold = clone(TINY).fit(digits[0][:60]).set_params(n_components=3)
    with pytest.raises(ValueError, match=r"n_components must stay .* 2, got 3"):
        manifold.partial_fit(digits[0][:60])
    assert manifold.transform(digits[0][:3]).shape == (3, 2)
