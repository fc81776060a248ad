import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import geometric_slerp
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from manifoldgen import AutoencoderManifold, interpolate, interpolate_latents


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(5).fit(digits[0])


@pytest.fixture(scope="module")
def images(digits):
    return digits[0].reshape(-1, 8, 8)


@pytest.fixture(scope="module")
def autoencoder(images):
    quick = AutoencoderManifold(
        3, hidden_sizes=(16,), max_epochs=2, device="cpu", random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quick.fit(images)


def test_linear_by_hand():
    path = interpolate_latents([0, 8], [4.0, 0.0], 5)
    np.testing.assert_array_equal(path, [[0, 8], [1, 6], [2, 4], [3, 2], [4, 0]])


@pytest.mark.parametrize("n_components", [2, 3, 50])
def test_spherical_is_scipys_arc_with_an_even_norm(n_components):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, n_components))
    path = interpolate_latents(a, b, 7, method="spherical")
    assert path.shape == (4, 7, n_components)
    share = np.linspace(0, 1, 7)
    for row_a, row_b, points in zip(a, b, path, strict=True):
        norm_a, norm_b = np.linalg.norm(row_a), np.linalg.norm(row_b)
        arc = geometric_slerp(row_a / norm_a, row_b / norm_b, share)
        expected = arc * ((1 - share) * norm_a + share * norm_b)[:, None]
        np.testing.assert_allclose(points, expected, atol=1e-12)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, np.pi - 1e-3])
def test_spherical_is_exact_near_the_ends_of_its_range(angle):
    a, b = np.array([2.0, 0.0]), 2 * np.array([np.cos(angle), np.sin(angle)])
    path = interpolate_latents(a, b, 5, method="spherical")
    turned = np.arctan2(path[:, 1], path[:, 0])
    np.testing.assert_allclose(turned, angle * np.linspace(0, 1, 5), rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 2.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0], [3.0, 6.0]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0], [-2.0, -4.0]),
        ([0.0, 0.0], [3.0, 1.0]),
        ([3.0, 1.0], [0.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
    ids=["same direction", "equal", "opposite", "from zero", "to zero", "zero"],
)
def test_spherical_is_straight_where_there_is_no_arc(a, b):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = interpolate_latents(a, b, 5, method="spherical")
    np.testing.assert_allclose(path, interpolate_latents(a, b, 5), atol=1e-12)


def test_a_path_without_an_arc_leaves_its_neighbours_alone():
    a, b = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[-1.0, 0.0], [0.0, 1.0]])
    both = interpolate_latents(a, b, 3, method="spherical")
    np.testing.assert_allclose(both[0, 1], [0.0, 0.0])
    np.testing.assert_allclose(both[1, 1], np.sqrt([0.5, 0.5]))


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_ends_are_exact_and_the_dtype_stays(method):
    a, b = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    path = interpolate_latents(a, b, 3, method=method)
    assert path.dtype == np.float32
    np.testing.assert_array_equal(path[:, 0], a)
    np.testing.assert_array_equal(path[:, -1], b)
    np.testing.assert_array_equal(
        interpolate_latents(a[1], b[1], 3, method=method), path[1]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1.0]), r"z_a and z_b must have the same shape, got \(2,\)"),
        (([1.0], [[1.0]]), "same shape"),
        (([np.nan], [1.0]), "z_a contains NaN"),
        (([1.0], [1.0], 1), "n must be an int >= 2, got 1"),
    ],
)
def test_latents_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        interpolate_latents(*arguments)


def test_a_method_that_is_not_there(pca, digits):
    for call in (
        lambda: interpolate_latents([1.0], [2.0], method="cubic"),
        lambda: interpolate(pca, *digits[0][:2], method="cubic"),
    ):
        with pytest.raises(ValueError, match="'linear', 'spherical', got 'cubic'"):
            call()


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_rows_are_the_decoded_path(pca, digits, method):
    a, b = digits[0][:2]
    z_a, z_b = pca.transform(digits[0][:2])
    expected = pca.inverse_transform(interpolate_latents(z_a, z_b, 4, method=method))
    np.testing.assert_allclose(interpolate(pca, a, b, 4, method=method), expected)


def test_a_linear_path_of_a_linear_model_is_a_blend_of_reconstructions(pca, digits):
    a, b = digits[0][:2]
    back = pca.inverse_transform(pca.transform([a, b]))
    middle = interpolate(pca, a, b, 3)[1]
    np.testing.assert_allclose(middle, back.mean(axis=0), atol=1e-10)


def test_ends_are_the_reconstructions_bit_for_bit(autoencoder, images):
    a, b = images[:3], images[3:6]
    paths = interpolate(autoencoder, a, b, 4)
    assert paths.shape == (3, 4, 8, 8)
    assert paths.dtype == np.float32
    for end, rows in ((0, a), (-1, b)):
        back = autoencoder.inverse_transform(autoencoder.transform(rows))
        np.testing.assert_array_equal(paths[:, end], back)


def test_one_image_one_row_and_one_pair_go_the_same_way(autoencoder, images):
    pairs = interpolate(autoencoder, images[:1], images[1:2], 4)
    assert pairs.shape == (1, 4, 8, 8)
    one = interpolate(autoencoder, images[0], images[1], 4)
    flat = interpolate(autoencoder, images[0].ravel(), images[1].ravel(), 4)
    np.testing.assert_array_equal(one, pairs[0])
    np.testing.assert_array_equal(flat, pairs[0])


def test_images_with_channels(images):
    stacked = images[:50, None]
    quick = AutoencoderManifold(2, hidden_sizes=(4,), max_epochs=1, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick.fit(stacked)
    assert interpolate(quick, stacked[0], stacked[1], 3).shape == (3, 1, 8, 8)
    assert interpolate(quick, stacked[:2], stacked[2:4], 3).shape == (2, 3, 1, 8, 8)


def test_a_pipeline_is_inverted_to_the_units_of_its_input(digits):
    X = digits[0]
    pipe = make_pipeline(StandardScaler(), PCA(4)).fit(X)
    expected = pipe.inverse_transform(pipe.transform(X[:2]))
    np.testing.assert_allclose(interpolate(pipe, X[0], X[1], 2), expected)
    generative = make_pipeline(StandardScaler(), PCA(4), GaussianMixture()).fit(X)
    np.testing.assert_allclose(interpolate(generative, X[0], X[1], 2), expected)


def test_rows_of_a_frame_keep_the_names_of_their_columns(digits):
    frame = pd.DataFrame(digits[0][:, :6], columns=list("abcdef"))
    pca = PCA(2).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = interpolate(pca, frame.iloc[0], frame.iloc[1], 4)
        several = interpolate(pca, frame.iloc[:1], frame.iloc[1:2], 4)
    assert one.shape == (4, 6)
    np.testing.assert_array_equal(several[0], one)


@pytest.mark.parametrize(
    "manifold",
    [
        Normalizer(),
        GaussianMixture(),
        make_pipeline(GaussianMixture()),
        make_pipeline(Normalizer(), PCA(2), GaussianMixture()),
    ],
)
def test_what_cannot_go_there_and_back_is_refused(manifold, digits):
    X = digits[0]
    name = type(manifold).__name__
    with pytest.raises(TypeError, match=f"inverse_transform; {name} has no"):
        interpolate(manifold.fit(X), X[0], X[1])


def test_bad_rows_are_refused(pca, digits):
    X = digits[0]
    with pytest.raises(ValueError, match=r"a and b must .*\(64,\) and \(2, 64\)"):
        interpolate(pca, X[0], X[:2])
    with pytest.raises(ValueError, match="64 features"):
        interpolate(pca, X[0, :3], X[1, :3])
    with pytest.raises(ValueError, match="NaN"):
        interpolate(pca, X[0], np.full(64, np.nan))
    with pytest.raises(TypeError, match="n must be an int >= 2"):
        interpolate(pca, X[0], X[1], 2.5)
    with pytest.raises(NotFittedError):
        interpolate(PCA(2), X[0], X[1])
