import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manifoldgen import nearest_real, sample_from


@pytest.fixture(scope="module")
def pipe(digits):
    steps = StandardScaler(), PCA(5), GaussianMixture(random_state=0)
    return make_pipeline(*steps).fit(digits[0])


@pytest.fixture(scope="module")
def generated(pipe):
    return sample_from(pipe, 40, random_state=0)


@pytest.mark.parametrize("space", ["data", "manifold", "features"])
def test_neighbours_are_those_of_brute_force(pipe, digits, generated, space):
    X = digits[0]
    compared = {
        "data": lambda rows: rows,
        "manifold": pipe[:-1].transform,
        "features": lambda rows: np.sort(rows, axis=1)[:, -10:],
    }[space]
    kwargs = {
        "data": {},
        "manifold": {"manifold": pipe},
        "features": {"features": compared},
    }[space]
    found = nearest_real(generated, X, n_neighbors=3, **kwargs)
    distances = cdist(compared(generated), compared(X))
    order = np.argsort(distances, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(found.indices, order)
    expected = np.take_along_axis(distances, order, axis=1)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-10)


def test_a_copy_is_at_zero_and_images_are_rows(digits):
    X = digits[0]
    images = X.reshape(-1, 8, 8)
    found = nearest_real(images[[7, 3]], X, n_neighbors=1)
    np.testing.assert_array_equal(found.indices, [[7], [3]])
    np.testing.assert_array_equal(found.distances, 0.0)


def test_features_get_rows_as_they_are_handed_in(digits):
    images = digits[0].reshape(-1, 8, 8)
    seen = []

    def rows_of_ink(X):
        seen.append(X.shape)
        return X.sum(axis=2)

    found = nearest_real(images[:2], images, n_neighbors=1, features=rows_of_ink)
    assert sorted(seen) == [(2, 8, 8), (500, 8, 8)]
    np.testing.assert_array_equal(found.indices, [[0], [1]])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors must be an int between 1 and 500, got 0"),
        ({"n_neighbors": 501}, "got 501. X_real has 500 rows."),
        ({"X_generated": np.zeros((2, 3))}, "the 64 columns of X_real, got 3"),
        ({"X_generated": np.full((2, 64), np.nan)}, "X_generated contains NaN"),
        ({"X_real": np.full((2, 64), np.inf)}, "X_real contains infinity"),
        ({"X_generated": np.zeros((0, 64))}, "minimum of 1 is required"),
        ({"features": lambda X: X[:-1]}, "row of X_real, got 499 rows for 500"),
        ({"features": lambda X: X * np.nan}, "got 500 of 500 with NaN or infinity"),
        ({"features": lambda X: X[:, 0]}, r"got an array of shape \(500,\)"),
        ({"features": np.abs, "manifold": PCA()}, "features must be None where manif"),
    ],
)
def test_bad_input(digits, parameters, message):
    given = {"X_generated": digits[0][:3], "X_real": digits[0], **parameters}
    with pytest.raises(ValueError, match=message):
        nearest_real(**given)


def test_bad_types(digits):
    X = digits[0]
    with pytest.raises(
        TypeError, match=r"features must be None or a callable .* got 'pix"
    ):
        nearest_real(X, X, features="pixels")
    with pytest.raises(TypeError, match="manifold must have transform, which Gaussian"):
        nearest_real(X, X, manifold=GaussianMixture().fit(X))
