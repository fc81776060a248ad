import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from manifoldgen import NearestRealDisplay, nearest_real, sample_from

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def pipe(digits):
    return make_pipeline(PCA(5), GaussianMixture(random_state=0)).fit(digits[0])


def test_each_row_is_beside_its_nearest(digits):
    X = digits[0]
    display = NearestRealDisplay.from_samples(
        X[:4] + 0.25, X[10:], n_neighbors=3, image_shape=(8, 8)
    )
    found = nearest_real(X[:4] + 0.25, X[10:], n_neighbors=3)
    np.testing.assert_array_equal(display.indices, found.indices)
    np.testing.assert_array_equal(display.distances, found.distances)
    np.testing.assert_array_equal(display.generated.reshape(4, 64), X[:4] + 0.25)
    expected = X[10:][found.indices]
    np.testing.assert_array_equal(display.nearest.reshape(4, 3, 64), expected)


def test_tiles_and_distances_are_drawn_in_their_places(digits):
    X = digits[0]
    display = NearestRealDisplay.from_samples(
        X[:2], X[5:], n_neighbors=3, image_shape=(8, 8)
    )
    picture = display.image_.get_array()
    for row in range(2):
        top = row * (8 + 3)
        shown = picture[top : top + 8, :8]
        np.testing.assert_allclose(shown, display.generated[row] / 16)
    texts = iter(display.distances_)
    for row in range(2):
        for column in range(3):
            text = next(texts)
            center, middle = text.get_position()
            assert float(text.get_text()) == pytest.approx(
                display.distances[row, column], rel=5e-3
            )
            top, left = row * (8 + 3), int(center) - 4
            assert top + 8 < middle < top + 8 + 3
            shown = picture[top : top + 8, left : left + 8]
            np.testing.assert_allclose(shown, display.nearest[row, column] / 16)
    heads = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert heads == ["generated", "nearest real, at a distance of"]


def test_samples_of_a_generator_in_its_latent_space(pipe, digits):
    X = digits[0]
    display = NearestRealDisplay.from_estimator(
        pipe, X, 6, manifold=pipe, n_neighbors=2, image_shape=(8, 8), random_state=3
    )
    drawn = sample_from(pipe, 6, random_state=3)
    np.testing.assert_array_equal(display.generated.reshape(6, 64), drawn)
    found = nearest_real(drawn, X, n_neighbors=2, manifold=pipe)
    np.testing.assert_array_equal(display.distances, found.distances)


def test_the_layout_of_images_is_taken_from_them_and_bytes_keep_their_range():
    rng = np.random.default_rng(0)
    real = rng.integers(256, size=(20, 3, 6, 5), dtype=np.uint8)
    display = NearestRealDisplay.from_samples(real[:2].reshape(2, 90), real)
    assert display.generated.shape == (2, 3, 6, 5)
    assert display.nearest.shape == (2, 5, 3, 6, 5)
    np.testing.assert_array_equal(display.distances[:, 0], 0.0)
    picture = display.image_.get_array()
    np.testing.assert_allclose(
        picture[:6, :5, :3], np.moveaxis(real[0], 0, -1) / 255, atol=1e-12
    )
    assert display.distances_[0].get_text() == "0.00"


def test_rows_that_are_no_images_are_lines(pipe, digits):
    display = NearestRealDisplay.from_estimator(pipe, digits[0], 3, random_state=0)
    assert display.image_ is None
    lines = np.array(display.lines_.get_segments())
    assert lines.shape == (3 + 15, 64, 2)
    shown = display.ax_.transData.transform(lines[3])[:, 1]
    np.testing.assert_allclose(np.corrcoef(shown, display.nearest[0, 0])[0, 1], 1.0)


def test_plot_draws_into_given_axes(digits):
    X, ax = digits[0], Figure().add_subplot()
    display = NearestRealDisplay.from_samples(
        X[:2],
        X[2:],
        image_shape=(8, 8),
        ax=ax,
        im_kwargs={"cmap": "gray_r"},
        text_kwargs={"color": "red"},
    )
    assert display.ax_ is ax
    assert display.image_.get_cmap().name == "gray_r"
    assert display.distances_[0].get_color() == "red"


def test_bad_input(digits):
    X = digits[0]
    with pytest.raises(ValueError, match="64 values in all"):
        NearestRealDisplay.from_samples(X[:2], X, image_shape=(8, 7))
    with pytest.raises(ValueError, match="the 64 columns of X_real, got 3"):
        NearestRealDisplay.from_samples(X[:2, :3], X, image_shape=(8, 8))
    with pytest.raises(ValueError, match="n_neighbors must be an int between 1 and 5"):
        NearestRealDisplay.from_samples(X[:2], X, n_neighbors=0)
