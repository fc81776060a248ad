"""What openTSNE and umap-learn demand of themselves, demanded of our estimators.

Outcomes and thresholds are those of openTSNE's test_correctness.py and of umap-learn's
test_umap_on_iris.py and test_umap_trustworthiness.py; the bounds where their versions
differ are the stricter ones. `tsne`, `umap` and `network` below are all that knows what
is tested.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import special_ortho_group
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KDTree, KNeighborsClassifier

from manifoldgen import NeighborManifold, TSNEManifold, UMAPManifold
from manifoldgen.manifold._umap_coordinates import umap_coordinates

pytestmark = pytest.mark.filterwarnings("ignore:The graph of neighbours falls into")

UMAP = {"n_neighbors": 10, "min_dist": 0.01, "random_state": 42}
MAP_ALONE = {"hidden_sizes": (4,), "max_epochs": 1}  # no way back is asked for


def tsne(X, **settings):
    return TSNEManifold(**MAP_ALONE, **settings).fit_transform(X)


def umap(X, y=None, **settings):
    settings = UMAP | MAP_ALONE | {"supervised": y is not None} | settings
    return UMAPManifold(**settings).fit_transform(X, y)


def network(X, y=None, **settings):
    """Return the map that a network learns by UMAP's objective."""
    settings = UMAP | {"objective": "negative_sampling", "max_epochs": 200} | settings
    return NeighborManifold(supervised=y is not None, **settings).fit_transform(X, y)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def two_clouds():
    rng = np.random.RandomState(0)
    return np.vstack([rng.normal(side, 1, size=(100, 4)) for side in (1, -1)])


@pytest.fixture(scope="module")
def uniform():
    return np.random.RandomState(42).uniform(size=(50, 5))


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(50, cluster_std=0.5, random_state=42)


def neighbour_accuracy(Z, y):
    return KNeighborsClassifier(n_neighbors=10).fit(Z, y).score(Z, y)


# openTSNE's test_correctness.py


def test_tsne_has_no_nan(two_clouds):
    Z = tsne(two_clouds, early_exaggeration_iter=20, n_iter=100)
    assert np.isfinite(Z).all()


def test_tsne_in_steps_has_no_nan(two_clouds):
    first = tsne(two_clouds, early_exaggeration_iter=20, n_iter=0)
    again = tsne(two_clouds, early_exaggeration_iter=0, n_iter=20, initialization=first)
    assert np.isfinite(again).all()


def test_tsne_sorts_iris_from_a_random_start(iris):
    X, y = iris
    settings = {"initialization": "random", "early_exaggeration_iter": 0}
    # theirs is one start that is below; a random one is so by chance, so the mean is
    starts = [tsne(X, n_iter=0, random_state=seed, **settings) for seed in range(5)]
    assert np.mean([neighbour_accuracy(start, y) for start in starts]) < 0.5
    maps = [tsne(X, n_iter=250, random_state=seed, **settings) for seed in range(3)]
    assert min(neighbour_accuracy(Z, y) for Z in maps) > 0.95


def test_tsne_of_equal_distances_is_one_map(iris):
    # theirs compares a table with its matrix of distances; a rotation has the same one
    X = iris[0] + np.random.RandomState(1).normal(scale=1e-3, size=iris[0].shape)
    turned = X @ special_ortho_group.rvs(4, random_state=0)
    settings = {"initialization": "random", "random_state": 0, "n_iter": 50}
    settings["early_exaggeration_iter"] = 0
    assert_allclose(tsne(X, **settings), tsne(turned, **settings), atol=1e-3)


def test_tsne_of_the_first_iterations_already_sorts_iris(iris):
    X, y = iris
    Z = tsne(X, early_exaggeration_iter=0, n_iter=50, random_state=0)
    assert neighbour_accuracy(Z, y) > 0.95


# umap-learn's test_umap_on_iris.py


def test_umap_is_trustworthy_on_iris(iris):
    assert trustworthiness(iris[0], umap(iris[0]), n_neighbors=10) >= 0.97


def test_umap_from_given_coordinates_is_trustworthy_on_iris(iris):
    X = iris[0]
    Z = umap(X, init=X[:, 2:], n_epochs=200)
    assert trustworthiness(X, Z, n_neighbors=10) >= 0.97


def test_supervised_umap_clusters_iris_by_class(iris):
    X, y = iris
    clusters = KMeans(3, random_state=0).fit_predict(umap(X, y, n_epochs=200))
    assert adjusted_rand_score(clusters, y) >= 0.95


# umap-learn's test_umap_trustworthiness.py


@pytest.mark.slow  # most of it compiles the search
def test_umap_on_approximate_neighbours_is_trustworthy(uniform):
    Z, _ = umap_coordinates(uniform, method="approximate", n_epochs=100, **UMAP)
    assert trustworthiness(uniform, Z, n_neighbors=10) >= 0.8


def test_umap_from_a_random_start_is_trustworthy(uniform):
    Z = umap(uniform, init="random", n_epochs=100)
    assert trustworthiness(uniform, Z, n_neighbors=10) >= 0.75


def test_umap_of_mostly_empty_rows_is_trustworthy():
    rng = np.random.RandomState(42)
    X = rng.uniform(size=(100, 5)) * (rng.uniform(size=(100, 5)) < 0.34)
    Z = umap(X, min_dist=0.1, n_epochs=100)
    assert trustworthiness(X, Z, n_neighbors=10) >= 0.85


@pytest.mark.parametrize("target_weight", [0.5, 0.8])
@pytest.mark.parametrize(
    "relabel",
    [
        lambda y: y,
        lambda y: np.array(["this", "that", "other"])[y],
        lambda y: y**2 + 2 * y,
    ],
    ids=["classes", "strings", "counts"],
)
def test_supervised_umap_is_trustworthy(blobs, relabel, target_weight):
    X, y = blobs
    Z = umap(X, relabel(y), target_weight=target_weight, n_epochs=100)
    assert trustworthiness(X, Z, n_neighbors=10) >= 0.95


def test_semi_supervised_umap_is_trustworthy(blobs):
    X, y = blobs[0], blobs[1].copy()
    y[10:30] = -1
    Z = umap(X, y, n_epochs=100)
    assert trustworthiness(X, Z, n_neighbors=10) >= 0.95


# the same of new rows: openTSNE's test_correctness.py


@pytest.fixture(scope="module")
def halves(iris):
    return train_test_split(*iris, test_size=0.33, random_state=42)


@pytest.fixture(scope="module", params=["neighbors", "network"])
def tsne_of_a_part(request, halves):
    settings = {"early_exaggeration_iter": 0, "n_iter": 50, "random_state": 0}
    return TSNEManifold(placement=request.param, **settings).fit(halves[0])


def test_tsne_places_new_rows_of_iris_by_class(tsne_of_a_part, halves):
    known, new, y_known, y_new = halves
    knn = KNeighborsClassifier(n_neighbors=10)
    knn.fit(tsne_of_a_part.transform(known), y_known)
    assert knn.score(tsne_of_a_part.transform(new), y_new) > 0.95


def test_tsne_places_rows_one_by_one_as_together(tsne_of_a_part, halves):
    together = tsne_of_a_part.transform(halves[1])
    alone = [tsne_of_a_part.transform(row[np.newaxis])[0] for row in halves[1]]
    assert_array_equal(alone, together)


def test_tsne_places_a_part_as_among_all(tsne_of_a_part, halves):
    together = tsne_of_a_part.transform(halves[1])
    assert_array_equal(tsne_of_a_part.transform(halves[1][:25]), together[:25])


def test_tsne_has_no_nan_for_new_rows(two_clouds):
    rows = np.random.RandomState(1).normal(size=(25, 4))
    settings = {"early_exaggeration_iter": 20, "n_iter": 100}
    manifold = TSNEManifold(**MAP_ALONE, **settings).fit(two_clouds)
    assert np.isfinite(manifold.transform(rows)).all()


# umap-learn's test_umap_on_iris.py


@pytest.mark.parametrize("placement", ["neighbors", "network"])
def test_umap_places_new_rows_of_iris_trustworthily(iris, placement):
    X = iris[0]
    chosen = np.random.RandomState(42).choice([True, False], len(X), p=[0.75, 0.25])
    manifold = UMAPManifold(placement=placement, n_epochs=200, **UMAP).fit(X[chosen])
    Z = manifold.transform(X[~chosen])
    assert trustworthiness(X[~chosen], Z, n_neighbors=10) >= 0.85


@pytest.mark.parametrize("kind", [TSNEManifold, UMAPManifold])
def test_the_centroid_of_rows_on_the_map_comes_back_among_them(iris, kind):
    X = iris[0]
    manifold = kind(random_state=42)
    if kind is UMAPManifold:
        manifold.set_params(**UMAP)
    Z = manifold.fit_transform(X)
    in_data, on_map = KDTree(X), KDTree(Z)
    for i in range(1, 150, 20):
        (near,) = on_map.query(Z[[i]], k=5, return_distance=False)
        row = manifold.inverse_transform(Z[near].mean(axis=0, keepdims=True))
        (beside,) = in_data.query(row, k=10, return_distance=False)
        assert len(np.intersect1d(near, beside)) >= 3


# what umap-learn demands, of a map that a network learns


@pytest.mark.parametrize("objective", ["negative_sampling", "infonce"])
def test_a_network_is_trustworthy_on_iris(iris, objective):
    Z = network(iris[0], objective=objective)
    assert trustworthiness(iris[0], Z, n_neighbors=10) >= 0.97


def test_a_network_places_new_rows_of_iris_trustworthily(iris):
    X = iris[0]
    chosen = np.random.RandomState(42).choice([True, False], len(X), p=[0.75, 0.25])
    manifold = NeighborManifold(max_epochs=200, **UMAP).fit(X[chosen])
    Z = manifold.transform(X[~chosen])
    assert trustworthiness(X[~chosen], Z, n_neighbors=10) >= 0.85


def test_a_network_is_trustworthy_on_uniform_rows(uniform):
    Z = network(uniform)
    assert trustworthiness(uniform, Z, n_neighbors=10) >= 0.8


def test_a_supervised_network_is_trustworthy(blobs):
    Z = network(*blobs)
    assert trustworthiness(blobs[0], Z, n_neighbors=10) >= 0.95


def test_a_semi_supervised_network_is_trustworthy(blobs):
    X, y = blobs[0], blobs[1].copy()
    y[10:30] = -1
    Z = network(X, y)
    assert trustworthiness(X, Z, n_neighbors=10) >= 0.95
