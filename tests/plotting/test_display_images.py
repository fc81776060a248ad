import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer

from manifoldgen import (
    LatentGridDisplay,
    NearestRealDisplay,
    ReconstructionDisplay,
    SampleGridDisplay,
)
from manifoldgen.plotting._images import as_images, grid_places, mosaic

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)


def test_as_images_lays_out_channels_first():
    row = np.arange(12.0)[None]
    assert as_images(row, (3, 2, 2)).shape == (1, 3, 2, 2)
    np.testing.assert_array_equal(as_images(row, (3, 2, 2))[0, 1], [[4, 5], [6, 7]])
    np.testing.assert_array_equal(as_images(row, (1, 3, 4))[0, 2], [8, 9, 10, 11])
    np.testing.assert_array_equal(as_images(row, (3, 4)), as_images(row, (1, 3, 4)))


@pytest.mark.parametrize(
    ("X", "shape", "message"),
    [
        (np.zeros((2, 64)), None, r"may be \(1, 8, 8\) here"),
        (np.zeros((2, 5)), None, "drawn by EmbeddingDisplay"),
        (np.zeros((2, 64)), (1, 8, 7), "64 values in all"),
        (np.zeros((2, 8)), (2, 2, 2), "1 channel"),
        (np.full((2, 4), np.nan), (2, 2), "NaN"),
    ],
)
def test_rows_that_are_no_images_are_refused(X, shape, message):
    with pytest.raises(ValueError, match=message):
        SampleGridDisplay.from_samples(X, image_shape=shape)


def test_mosaic_by_hand():
    images = np.array([[[0.0, 2.0]], [[1.0, 5.0]]])
    picture = mosaic(images, np.array([0, 0]), np.array([0, 3]), (0.0, 4.0))
    np.testing.assert_array_equal(picture, [[0.0, 0.5, np.nan, 0.25, 1.0]])


def test_mosaic_of_colours_is_transparent_between_images():
    red = np.array([255, 0, 0], dtype=np.uint8).reshape(1, 3, 1, 1)
    picture = mosaic(
        np.concatenate([red, red]), np.array([0, 2]), np.zeros(2, int), (0, 255)
    )
    np.testing.assert_array_equal(
        picture[:, 0], [[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]]
    )


def test_grid_places_wrap_a_class_that_is_longer_than_a_row():
    labels = np.array(["b", "a", "b", "b", "a", "b"])
    rows, columns, starts = grid_places(labels, 6, 3)
    assert starts == {0: "a", 1: "b"}
    assert rows.tolist() == [1, 0, 1, 1, 0, 2]
    assert columns.tolist() == [0, 0, 1, 2, 1, 0]


def test_values_share_one_range_unless_given(rows):
    display = SampleGridDisplay.from_samples(rows, image_shape=(3, 4))
    drawn = display.image_.get_array().compressed()
    assert drawn.min() == 0.0
    assert drawn.max() == 1.0
    wide = SampleGridDisplay.from_samples(
        rows, image_shape=(3, 4), value_range=(-100.0, 100.0)
    )
    assert np.ptp(wide.image_.get_array().compressed()) < 0.1


def test_range_of_samples_is_that_of_the_real_rows(rows):
    pipe = make_pipeline(PCA(2), GaussianMixture(random_state=0)).fit(rows)
    display = SampleGridDisplay.from_estimator(
        pipe, 10, X=rows, image_shape=(3, 4), random_state=0
    )
    assert display.value_range == (rows.min(), rows.max())
    assert display.images.shape == (10, 3, 4)
    again = SampleGridDisplay.from_estimator(
        pipe, 10, image_shape=(3, 4), random_state=0
    )
    np.testing.assert_array_equal(again.images, display.images)


class _Labelled(GaussianMixture):
    """Draws rows that are their labels."""

    def sample(self, n_samples=1, *, y=None):
        return np.repeat(np.asarray(y, dtype=float)[:, None], 4, axis=1)


def test_labels_are_handed_on_and_name_the_rows(rows):
    generator = _Labelled().fit(rows[:, :4])
    y = np.array([7, 3, 7, 3])
    display = SampleGridDisplay.from_estimator(generator, y=y, image_shape=(2, 2))
    assert display.images[:, 0, 0].tolist() == y.tolist()
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == ["3", "7"]


@pytest.mark.parametrize("n_classes", [1, 2, 20])
def test_grid_draws_any_number_of_classes(n_classes, rows):
    y = np.arange(len(rows)) % n_classes
    display = SampleGridDisplay.from_samples(rows, y=y, image_shape=(3, 2, 2))
    display.figure_.canvas.draw()
    assert len(display.ax_.get_yticks()) == n_classes
    assert display.image_.get_array().shape[-1] == 4


def test_labels_of_another_length_are_refused(rows):
    with pytest.raises(ValueError, match="one label for each of the 60 images"):
        SampleGridDisplay.from_samples(rows, y=[1, 2], image_shape=(3, 4))


def test_plot_draws_into_given_axes(rows):
    ax = Figure().add_subplot()
    display = SampleGridDisplay.from_samples(
        rows, image_shape=(3, 4), ax=ax, im_kwargs={"cmap": "gray_r"}
    )
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.image_.get_cmap().name == "gray_r"
    assert display.plot(n_columns=7) is display


def test_reconstruction_is_there_and_back_with_the_range_of_the_originals(rows):
    pca = PCA(3).fit(rows)
    display = ReconstructionDisplay.from_estimator(pca, rows[:5], image_shape=(3, 4))
    expected = pca.inverse_transform(pca.transform(rows[:5])).reshape(5, 3, 4)
    np.testing.assert_allclose(display.reconstructions, expected)
    picture = display.image_.get_array()
    low, high = rows[:5].min(), rows[:5].max()
    np.testing.assert_allclose(
        picture[:3, :4], (rows[0].reshape(3, 4) - low) / (high - low), rtol=1e-6
    )
    below = np.clip((expected[0] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(picture[4:7, :4], below, rtol=1e-6)


def test_reconstruction_leaves_out_the_generator_and_wraps(rows):
    pipe = make_pipeline(PCA(2), GaussianMixture()).fit(rows)
    display = ReconstructionDisplay.from_estimator(
        pipe, rows[:5], image_shape=(3, 4), n_columns=2
    )
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == ["original", "reconstruction"] * 3


def test_reconstruction_needs_a_way_back(rows):
    with pytest.raises(TypeError, match=r"inverse_transform.*Normalizer"):
        ReconstructionDisplay.from_estimator(
            Normalizer().fit(rows), rows, image_shape=(3, 4)
        )
    with pytest.raises(TypeError, match="transform"):
        ReconstructionDisplay.from_estimator(
            GaussianMixture().fit(rows), rows, image_shape=(3, 4)
        )


@pytest.mark.parametrize(
    ("scale", "shift", "dtype", "ends"),
    [
        (1.0, 0.0, np.uint8, (0.0, 255.0)),
        (1 / 255, 0.0, np.float32, (0.0, 1.0)),
        (1 / 127.5, -1.0, np.float32, (-1.0, 1.0)),
    ],
    ids=["bytes", "0 to 1", "-1 to 1"],
)
def test_colours_are_the_same_in_every_range(scale, shift, dtype, ends):
    colours = np.random.default_rng(0).integers(0, 256, (30, 3, 6, 5), dtype=np.uint8)
    colours[:2] = np.array([0, 255])[:, None, None, None]
    X = (colours * scale + shift).astype(dtype)
    flat = FunctionTransformer(
        lambda it: it.reshape(len(it), -1),
        inverse_func=lambda it: it.reshape(-1, 3, 6, 5),
    )
    pca = make_pipeline(flat, PCA(2, random_state=0)).fit(X)
    displays = [
        SampleGridDisplay.from_samples(X[:4]),
        ReconstructionDisplay.from_estimator(pca, X[:4], n_columns=4),
        NearestRealDisplay.from_samples(X[:4], X),
    ]
    expected = np.moveaxis(colours[0], 0, -1) / 255
    for display in displays:
        drawn = display.image_.get_array()[:6, :5]
        np.testing.assert_allclose(drawn[..., :3], expected, atol=1e-6)
        np.testing.assert_array_equal(drawn[..., 3], 1.0)
    grid = LatentGridDisplay.from_estimator(pca, X, n_rows=3, n_columns=3)
    assert grid.value_range == ends
    low, high = ends
    below = np.clip((np.moveaxis(grid.cells[-1, 0], 0, -1) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(grid.image_.get_array()[:6, :5, :3], below, atol=1e-6)
