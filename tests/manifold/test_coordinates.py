"""Coordinates by t-SNE and UMAP: against the libraries, and on data that degenerate."""

import locale
import logging
import time
import warnings

import numpy as np
import openTSNE
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.manifold import trustworthiness

from manifoldgen.manifold import _umap_coordinates
from manifoldgen.manifold._graph import (
    common_scale,
    distinct_labels,
    distinct_rows,
    outside_largest_part,
    principal_start,
    reachable,
    unique_rows,
)
from manifoldgen.manifold._tsne_coordinates import by_classes, tsne_coordinates
from manifoldgen.manifold._umap_coordinates import umap_coordinates
from manifoldgen.neighbors import nearest_neighbors


def short_tsne(X, n_components=2, **settings):
    settings = {"early_exaggeration_iter": 20, "n_iter": 30, "n_jobs": 1} | settings
    return tsne_coordinates(X, n_components, **settings)


def short_umap(X, n_components=2, **settings):
    return umap_coordinates(X, n_components, **{"n_epochs": 20} | settings)


BOTH = pytest.mark.parametrize("coordinates", [short_tsne, short_umap])


@pytest.fixture
def strict(recwarn):
    """Fail where anything warns."""
    yield
    assert [str(warning.message) for warning in recwarn] == []


# rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unique_rows_are_those_of_numpy(dtype):
    X = np.random.RandomState(0).randint(0, 3, size=(200, 4)).astype(dtype)
    first, inverse = unique_rows(X)
    _, expected = np.unique(X, axis=0, return_index=True)
    assert_array_equal(first, np.sort(expected))
    assert_array_equal(X[first][inverse], X)


def test_rows_are_equal_where_they_are_in_float32():
    X = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0 + 1e-12], [0.0, 1.0 + 1e-6]])
    first, inverse = unique_rows(X)
    assert_array_equal(first, [0, 3])
    assert_array_equal(inverse, [0, 0, 0, 1])


def test_unique_rows_of_a_large_table_take_less_than_a_second():
    X = np.zeros((60_000, 784), dtype=np.float32)
    X[:, 300] = np.arange(60_000) % 50_000
    start = time.process_time()
    first, _ = unique_rows(X)
    assert time.process_time() - start < 1.5  # 0.35 s where nothing else runs
    assert len(first) == 50_000


def test_a_common_scale_keeps_the_ratios_of_the_columns():
    X = np.array([[0.0, 10.0, 5.0], [4.0, 12.0, 5.0]])
    mean, scale = common_scale(X)
    assert_array_equal(mean, [2.0, 11.0, 5.0])
    assert scale == 2.0
    assert common_scale(np.full((3, 2), 0.1))[1] == 1.0


def test_metrics_that_a_shift_changes_get_the_rows_as_they_are():
    X = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert_array_equal(distinct_rows(X, "cosine").rows, X)


def test_copies_whose_labels_disagree_are_unknown():
    data = distinct_rows(np.array([[1.0], [2.0], [1.0], [2.0], [3.0]]))
    assert_array_equal(distinct_labels([5, 1, 5, 2, 0], data), [5, -1, 0])
    with pytest.raises(ValueError, match="one for each of the 5 rows"):
        distinct_labels([1, 2], data)
    with pytest.raises(ValueError, match="labels must be ints"):
        distinct_labels(np.zeros(5), data)


def test_infinite_distances_become_twice_the_largest():
    assert_array_equal(reachable(np.array([[1.0, 3.0, np.inf]])), [[1.0, 3.0, 6.0]])


def test_rows_outside_the_largest_part_are_named():
    indices = np.array([[1], [0], [1], [4], [3], [-1]])
    with pytest.warns(UserWarning, match="into 3 parts.* 3 of 6,.*Raise perplexity"):
        outside = outside_largest_part(indices, "perplexity")
    assert_array_equal(outside, [False, False, False, True, True, True])


def test_a_start_on_principal_axes_fills_the_columns_without_axis():
    rows = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    start = principal_start(rows, 3, np.random.RandomState(0))
    assert_allclose(np.abs(start[:, 0]), [0.8, 0.2, 1.0], atol=1e-4)
    assert 0 < np.abs(start[:, 1:]).max() < 1e-4


# against the libraries


def test_umap_is_umap_learns_on_our_graph(digits):
    import umap

    X = digits[0][:200]
    found = short_umap(X, random_state=np.random.RandomState(3)).coordinates
    rows = distinct_rows(X).rows
    graph = nearest_neighbors(rows, 14)
    rng = np.random.RandomState(3)
    rng.randint(2)  # the seed of the search is the first that is drawn
    indices = np.column_stack([np.arange(200), graph.indices])
    distances = np.column_stack([np.zeros(200), graph.distances]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = umap.UMAP(
            n_epochs=20, random_state=rng, precomputed_knn=(indices, distances)
        )
        assert_array_equal(found, peer.fit_transform(rows))


def test_supervised_umap_is_umap_learns_on_our_graph(digits):
    import umap

    X, y = digits[0][:200], digits[1][:200].copy()
    y[::3] = -1
    rows = distinct_rows(X).rows
    start = np.random.RandomState(5).uniform(-10, 10, (200, 2)).astype(np.float32)
    settings = {"init": start, "target_weight": 0.7}
    found = short_umap(
        X, labels=y, random_state=np.random.RandomState(3), **settings
    ).coordinates
    graph = nearest_neighbors(rows, 14)
    rng = np.random.RandomState(3)
    rng.randint(2)
    indices = np.column_stack([np.arange(200), graph.indices])
    distances = np.column_stack([np.zeros(200), graph.distances]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = umap.UMAP(
            n_epochs=20,
            random_state=rng,
            precomputed_knn=(indices, distances),
            **settings,
        ).fit_transform(rows, y)
    assert_array_equal(found, peer)


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_tsne_is_opentsnes_on_its_own_exact_graph(digits, n_components):
    X = digits[0][:300]
    start = np.random.RandomState(0).normal(size=(300, n_components))
    found = short_tsne(X, n_components, initialization=start).coordinates
    peer = openTSNE.TSNE(
        n_components,
        early_exaggeration_iter=20,
        n_iter=30,
        neighbors="exact",
        initialization=start * (1e-4 / start.std(axis=0).max()),
        negative_gradient_method="bh",
    ).fit(distinct_rows(X).rows.astype(np.float64))
    assert_allclose(found, np.asarray(peer), atol=1e-3 * np.std(peer))


def test_affinities_between_classes_are_scaled_down_by_row():
    P = csr_matrix([[0.0, 0.6, 0.4], [0.5, 0.0, 0.5], [0.2, 0.8, 0.0]])
    labels = np.array([0, 0, 1])
    far = np.exp(-2.5 / 0.5)
    expected = [
        [0, 0.6 / (0.6 + 0.4 * far), 0.4 * far / (0.6 + 0.4 * far)],
        [1 / (1 + far), 0, far / (1 + far)],
        [0.2, 0.8, 0],
    ]
    assert_allclose(by_classes(P, labels, 0.5).toarray(), expected, rtol=1e-12)
    alone = by_classes(P, labels, 1.0).toarray()
    assert_allclose(alone, [[0, 1, 0], [1, 0, 0], [0.2, 0.8, 0]], rtol=1e-12)
    labels = np.array([0, -1, 0])
    unknown = by_classes(P, labels, 0.5).toarray()[0]
    assert_allclose(unknown[1] / unknown[2], np.exp(-1) * 0.6 / 0.4, rtol=1e-12)


@BOTH
def test_labels_bring_a_class_together(coordinates):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(150, 5))
    y = (X[:, 0] + 0.8 * rng.normal(size=150) > 0).astype(int)
    longer = {"n_iter": 200} if coordinates is short_tsne else {"n_epochs": 200}

    def agreement(labels):
        Z = coordinates(X, random_state=0, labels=labels, **longer).coordinates
        return (y[nearest_neighbors(Z, 10).indices] == y[:, np.newaxis]).mean()

    assert agreement(y) > agreement(None) + 0.1
    some = np.where(np.arange(150) % 3 == 0, -1, y)
    assert agreement(some) > agreement(None) + 0.03


# one seed, one result


@BOTH
@pytest.mark.parametrize("start", ["pca", "spectral", "random"])
def test_one_seed_gives_one_map_bit_for_bit(coordinates, start, digits, strict):
    name = "initialization" if coordinates is short_tsne else "init"
    X = digits[0][:150]
    one = coordinates(X, random_state=7, **{name: start})
    again = coordinates(X, random_state=7, **{name: start})
    other = coordinates(X, random_state=8, **{name: start})
    assert_array_equal(one.coordinates, again.coordinates)
    assert np.abs(one.coordinates - other.coordinates).max() > 0
    assert one.coordinates.dtype == np.float32
    assert one.coordinates.shape == (150, 2)
    assert not one.isolated.any()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_tsne_is_one_map_with_any_number_of_threads(n_jobs, digits):
    found = short_tsne(digits[0], random_state=0, n_jobs=n_jobs, n_iter=10)
    assert_array_equal(
        found.coordinates, short_tsne(digits[0], random_state=0, n_iter=10).coordinates
    )


def test_umap_without_a_seed_is_a_new_map_and_as_good(digits):
    X = digits[0][:200]
    one, other = (short_umap(X, n_jobs=2, n_epochs=100).coordinates for _ in range(2))
    assert np.abs(one - other).max() > 0
    assert trustworthiness(X, one, n_neighbors=10) > 0.9


@BOTH
def test_the_process_is_left_as_it_was(coordinates, digits, capfd, caplog, strict):
    caplog.set_level(logging.INFO, logger="openTSNE")
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_before = torch.get_rng_state()
    numeric = locale.setlocale(locale.LC_NUMERIC)
    coordinates(digits[0][:100], random_state=None)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert torch.get_num_threads() == 1
    assert locale.setlocale(locale.LC_NUMERIC) == numeric
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_errors_of_umap_learn_are_let_through_and_its_threads_put_back(monkeypatch):
    import numba

    def broken(*args, **kwargs):
        raise KeyError("broken")

    monkeypatch.setattr("umap.umap_.simplicial_set_embedding", broken)
    threads = numba.get_num_threads()
    with pytest.raises(KeyError, match="broken"):
        short_umap(np.random.RandomState(0).normal(size=(30, 3)), random_state=0)
    assert numba.get_num_threads() == threads


@BOTH
def test_what_is_not_finite_is_an_error(coordinates, monkeypatch):
    def broken(rows, *args, **kwargs):
        return np.full((100, 2), np.nan)

    if coordinates is short_tsne:
        monkeypatch.setattr("openTSNE.TSNE.fit", lambda self, **_: broken(None))
    else:
        monkeypatch.setattr(_umap_coordinates, "_optimized", lambda *_, **__: broken(0))
    X = np.random.RandomState(0).normal(size=(100, 3))
    with pytest.raises(RuntimeError, match="not finite"):
        coordinates(X, random_state=0)


# units


@BOTH
@pytest.mark.parametrize("factor", [1000.0, 1e-30, 1e30])
def test_the_unit_does_not_matter(coordinates, factor, digits):
    X = digits[0][:150]
    one = coordinates(X, random_state=0).coordinates
    assert_array_equal(one, coordinates(factor * X, random_state=0).coordinates)


@BOTH
def test_an_offset_and_constant_columns_do_not_matter(coordinates):
    # integers, whose differences an offset of 1e6 leaves exact
    X = np.random.RandomState(0).randint(0, 1000, size=(120, 5)).astype(float)
    more = np.column_stack([X + 1e6, np.full(120, 1e6), np.zeros(120)])
    longer = {"n_iter": 100} if coordinates is short_tsne else {"n_epochs": 100}
    found = coordinates(more, random_state=0, **longer).coordinates
    assert np.isfinite(found).all()
    plain = coordinates(X, random_state=0, **longer).coordinates
    trusted = [trustworthiness(X, Z, n_neighbors=10) for Z in (found, plain)]
    assert trusted[0] > trusted[1] - 0.02


# data that degenerate


@BOTH
@pytest.mark.parametrize("n_samples", [1, 40])
def test_a_constant_table_is_at_the_origin(coordinates, n_samples):
    with pytest.warns(UserWarning, match="All rows of X are equal"):
        found = coordinates(np.full((n_samples, 3), 0.1), random_state=0)
    assert_array_equal(found.coordinates, np.zeros((n_samples, 2)))
    assert not found.isolated.any()


@BOTH
@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize("n_samples", [2, 3])
def test_too_few_rows_are_put_on_a_line(coordinates, n_samples, n_components):
    X = np.array([[0.0, 0.0], [5.0, 5.0], [1.0, 1.0]])[:n_samples]
    with pytest.warns(UserWarning, match=f"{n_samples} distinct rows, too few"):
        found = coordinates(X, n_components, random_state=0).coordinates
    steps = found[:, 0] * np.sign(found[1, 0] - found[0, 0])
    assert_array_equal(steps, [-0.5, 0.5] if n_samples == 2 else [-1, 1, 0])
    assert not found[:, 1:].any()


@pytest.mark.parametrize("n_samples", [4, 5, 10])
@pytest.mark.parametrize("n_features", [1, 4])
@pytest.mark.parametrize("start", ["pca", "spectral", "random"])
def test_tiny_tables_lower_the_parameters(n_samples, n_features, start):
    X = np.random.RandomState(0).normal(size=(n_samples, n_features))
    for n_components in (1, 2, 3):
        with pytest.warns(UserWarning, match="too large") as tsne_warns:
            tsne = short_tsne(X, n_components, initialization=start, random_state=0)
        with pytest.warns(UserWarning, match="too large") as umap_warns:
            umap = short_umap(X, n_components, init=start, random_state=0)
        for Z in (tsne.coordinates, umap.coordinates):
            assert np.isfinite(Z).all()
            assert len(np.unique(Z, axis=0)) == n_samples
        lowered = f"perplexity=30 is too large for the {n_samples} distinct rows"
        assert str(tsne_warns[0].message).startswith(lowered)
        assert f"so {(n_samples - 1) / 3:g} is used" in str(tsne_warns[0].message)
        assert str(umap_warns[0].message).startswith("n_neighbors=15 is too large")
        assert f"so {n_samples - 1} is used" in str(umap_warns[0].message)


@BOTH
def test_copies_of_a_row_are_at_one_place(coordinates):
    rng = np.random.RandomState(0)
    X = np.vstack([np.tile(rng.normal(size=3), (1000, 1)), rng.normal(size=(60, 3))])
    order = rng.permutation(len(X))
    found = coordinates(X[order], random_state=0, **few(coordinates)).coordinates
    assert np.isfinite(found).all()
    copies = found[order < 1000]
    assert_array_equal(copies, np.tile(copies[0], (1000, 1)))
    assert len(np.unique(found, axis=0)) == 61


@BOTH
def test_copies_do_not_change_where_the_others_are(coordinates):
    X = np.random.RandomState(0).normal(size=(60, 3))
    once = coordinates(X, random_state=0, **few(coordinates)).coordinates
    # the mean, which is taken off before rounding, is that of copies in pairs
    twice = np.vstack([X, X])
    found = coordinates(twice, random_state=0, **few(coordinates)).coordinates
    assert_array_equal(found, np.vstack([once, once]))


def few(coordinates):
    return {"perplexity": 10} if coordinates is short_tsne else {"n_neighbors": 10}


@BOTH
@pytest.mark.parametrize("n_blobs", [2, 7])
@pytest.mark.parametrize("start", ["pca", "spectral", "random"])
def test_far_blobs_are_finite_and_marked(coordinates, n_blobs, start):
    rng = np.random.RandomState(0)
    sizes = [50, *[40] * (n_blobs - 1)]
    X = np.vstack([1e4 * i + rng.normal(size=(n, 4)) for i, n in enumerate(sizes)])
    name = "initialization" if coordinates is short_tsne else "init"
    settings = {name: start} | few(coordinates)
    with pytest.warns(UserWarning, match=f"falls into {n_blobs} parts") as warned:
        found = coordinates(X, random_state=0, **settings)
    assert len(warned) == 1
    assert f"Raise {next(iter(few(coordinates)))} to join" in str(warned[0].message)
    assert np.isfinite(found.coordinates).all()
    assert_array_equal(found.isolated, np.arange(len(X)) >= 50)


def test_rows_that_share_nothing_are_placed_and_marked():
    rng = np.random.RandomState(0)
    X = np.zeros((62, 32))
    X[:60, :30] = rng.rand(60, 30) < 0.3
    X[60, 30] = X[61, 31] = 1
    with pytest.warns(UserWarning, match="falls into 3 parts.* 2 of 62,"):
        found = short_umap(X, metric="jaccard", random_state=0)
    assert np.isfinite(found.coordinates).all()
    assert_array_equal(np.flatnonzero(found.isolated), [60, 61])
    # all are equally far from them, so their neighbours are the first 14
    median = np.median(found.coordinates[:14], axis=0)
    assert_allclose(found.coordinates[60:], [median, median], rtol=1e-6)


def test_rows_of_which_no_two_share_anything_are_at_the_origin():
    with pytest.warns(UserWarning, match="into 20 parts"):
        found = short_umap(np.eye(20), metric="jaccard", random_state=0)
    assert_array_equal(found.coordinates, np.zeros((20, 2)))
    assert found.isolated.all()


@BOTH
@pytest.mark.parametrize("metric", ["cosine", "correlation", "manhattan", "jaccard"])
@pytest.mark.filterwarnings("ignore:The graph of neighbours falls into")
def test_other_metrics(coordinates, metric):
    X = np.random.RandomState(0).rand(80, 12)
    X[X < 0.4] = 0
    X[3] = 0.7  # has no correlation with any
    found = coordinates(X, metric=metric, random_state=0, **few(coordinates))
    assert np.isfinite(found.coordinates).all()


# parameters


def test_more_dimensions_than_tsne_has_name_what_has_them():
    X = np.zeros((5, 3))
    with pytest.raises(ValueError, match=r"between 1 and 3, got 4\. Use UMAPManifold"):
        tsne_coordinates(X, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"perplexity": 0.5}, r"perplexity must be a number in \[1, inf\)"),
        ({"learning_rate": 0}, 'learning_rate must be .*Or leave it "auto"'),
        ({"early_exaggeration": -1}, "early_exaggeration must be"),
        ({"exaggeration": 0}, "exaggeration must be"),
        ({"n_iter": -1}, "n_iter must be an int >= 0"),
        ({"early_exaggeration_iter": -1}, "early_exaggeration_iter must be"),
        ({"initialization": "best"}, "initialization must be one of 'pca'"),
        ({"initialization": np.zeros((4, 2))}, r"initialization must be .*\(30, 2\)"),
        ({"target_weight": 2}, "target_weight must be"),
        ({"n_jobs": 0}, "n_jobs must be an int >= 1"),
        ({"labels": [0]}, "labels must be ints, one for each of the 30"),
    ],
)
def test_parameters_of_tsne(settings, message):
    X = np.random.RandomState(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match=message):
        tsne_coordinates(X, **{"perplexity": 5} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "n_components must be an int >= 1"),
        ({"n_neighbors": 1}, "n_neighbors must be an int >= 2"),
        ({"min_dist": 2}, r"min_dist must be a number in \[0, 1\].*spread"),
        ({"spread": 0}, "spread must be"),
        ({"learning_rate": -1}, "learning_rate must be"),
        ({"negative_sample_rate": 0}, "negative_sample_rate must be"),
        ({"n_epochs": 0}, "n_epochs must be an int >= 1"),
        ({"init": "best"}, "init must be one of 'spectral'"),
        ({"init": np.full((30, 2), np.nan)}, r"init must be .*\(30, 2\)"),
        ({"target_weight": -0.1}, "target_weight must be"),
        ({"labels": np.zeros(29, dtype=int)}, "labels must be ints"),
    ],
)
def test_parameters_of_umap(settings, message):
    X = np.random.RandomState(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match=message):
        umap_coordinates(X, **settings)
