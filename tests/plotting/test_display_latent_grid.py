import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from manifoldgen import LatentGridDisplay
from manifoldgen.plotting._cells import lines_of, picture_of
from manifoldgen.plotting._latent_grid import grid_over, near_points

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(4).fit(digits[0])


class _Embedded(PCA):
    """Holds the coordinates of the rows it was fitted on, as t-SNE and UMAP do."""

    def fit(self, X, y=None):
        super().fit(X)
        self.embedding_ = self.transform(X)
        return self

    def fit_transform(self, X, y=None):
        return self.fit(X).embedding_


class _Shaped(PCA):
    """Was told the layout of its rows, as a network of convolutions is."""

    image_shape = (1, 8, 8)


class _Images(PCA):
    """Gives images back, as a manifold that was fitted on images does."""

    def inverse_transform(self, Z):
        return super().inverse_transform(Z).reshape(-1, 8, 8)


def test_grid_goes_from_quantile_to_quantile_about_the_median():
    Z = np.random.default_rng(0).normal(size=(500, 4)) * [1, 2, 3, 4]
    x, y, latents = grid_over(Z, 3, 5, (2, 0), (0.1, 0.9))
    assert latents.shape == (3, 5, 4)
    np.testing.assert_allclose(x[[0, -1]], np.quantile(Z[:, 2], [0.1, 0.9]))
    np.testing.assert_allclose(y[[0, -1]], np.quantile(Z[:, 0], [0.1, 0.9]))
    np.testing.assert_allclose(np.diff(x), (x[-1] - x[0]) / 4)
    for row in range(3):
        for column in range(5):
            expected = np.median(Z, axis=0)
            expected[2], expected[0] = x[column], y[row]
            np.testing.assert_allclose(latents[row, column], expected)


def test_grid_over_a_component_that_is_constant():
    x, y, _ = grid_over(np.tile([3.0, 0.0], (9, 1)), 2, 3)
    np.testing.assert_allclose(x, [2.5, 3.0, 3.5])
    np.testing.assert_allclose(y, [-0.5, 0.5])


def test_near_points_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    x, y, points = np.linspace(0, 8, 9), np.linspace(-1, 1, 11), rng.normal(size=(6, 2))
    points *= [3.0, 0.5]
    near = near_points(x, y, points)
    for row in range(11):
        for column in range(9):
            off = (points - [x[column], y[row]]) / [1.0, 0.2]
            assert near[row, column] == (np.linalg.norm(off, axis=1).min() <= 1.0)
    assert 0 < near.sum() < near.size


def test_a_cell_is_what_its_coordinates_decode_to(pca, digits):
    display = LatentGridDisplay.from_estimator(
        pca, digits[0], n_rows=3, n_columns=4, components=(1, 3), image_shape=(8, 8)
    )
    assert display.cells.shape == (3, 4, 8, 8)
    z = np.median(pca.transform(digits[0]), axis=0)
    z[1], z[3] = display.x[2], display.y[0]
    expected = pca.inverse_transform(z[None]).reshape(8, 8)
    np.testing.assert_allclose(display.cells[0, 2], expected)
    names = (display.ax_.get_xlabel(), display.ax_.get_ylabel())
    assert names == ("component 2", "component 4")


def test_a_cell_is_drawn_where_its_coordinates_are(pca, digits):
    display = LatentGridDisplay.from_estimator(
        pca, digits[0], n_rows=3, n_columns=4, image_shape=(8, 8)
    )
    picture = display.image_.get_array()
    left, right, bottom, top = display.image_.get_extent()
    height, width = picture.shape
    for row in range(3):
        for column in range(4):
            j = (display.x[column] - left) / (right - left) * width
            i = (top - display.y[row]) / (top - bottom) * height
            tile = picture[round(i) - 4 : round(i) + 4, round(j) - 4 : round(j) + 4]
            expected = np.clip(display.cells[row, column] / 16, 0, 1)
            np.testing.assert_allclose(tile, expected, atol=1e-12)
            assert i == pytest.approx(round(i))
            assert j == pytest.approx(round(j))


def test_pixels_are_square(pca, digits):
    display = LatentGridDisplay.from_estimator(
        pca, digits[0], n_rows=3, n_columns=7, components=(0, 3), image_shape=(8, 8)
    )
    display.figure_.canvas.draw()
    corners = display.ax_.transData.transform(
        [(display.x[0], display.y[0]), (display.x[1], display.y[1])]
    )
    np.testing.assert_allclose(*(corners[1] - corners[0]), rtol=1e-6)


def test_black_and_white_are_those_of_the_rows(pca, digits):
    X = digits[0]
    given = LatentGridDisplay.from_estimator(pca, X, image_shape=(8, 8))
    assert given.value_range == (0.0, 16.0)
    embedded = _Embedded(2).fit(X)
    alone = LatentGridDisplay.from_estimator(embedded, image_shape=(8, 8))
    assert alone.value_range is None
    drawn = alone.image_.get_array().compressed()
    assert (drawn.min(), drawn.max()) == (0.0, 1.0)


def test_embedding_serves_where_there_are_no_rows(pca, digits):
    X = digits[0]
    for estimator in (
        _Embedded(3).fit(X),
        make_pipeline(MinMaxScaler(), _Embedded(3)).fit(X),
        make_pipeline(MinMaxScaler(), _Embedded(3), GaussianMixture()).fit(X),
    ):
        with_rows = LatentGridDisplay.from_estimator(estimator, X)
        alone = LatentGridDisplay.from_estimator(estimator)
        np.testing.assert_allclose(alone.cells, with_rows.cells)
        np.testing.assert_allclose(alone.points, with_rows.points)
    with pytest.raises(ValueError, match="PCA holds no embedding_"):
        LatentGridDisplay.from_estimator(pca)


def test_layout_comes_from_the_rows_or_from_a_step(digits):
    X = digits[0]
    for estimator in (
        _Images(2).fit(X),
        _Shaped(2).fit(X),
        make_pipeline(MinMaxScaler(), _Shaped(2)).fit(X),
    ):
        display = LatentGridDisplay.from_estimator(estimator, X, n_rows=2, n_columns=2)
        assert display.cells.shape == (2, 2, 8, 8)
        assert display.lines_ is None


def test_colour_images(digits):
    X = np.random.default_rng(0).uniform(size=(20, 48))
    display = LatentGridDisplay.from_estimator(
        PCA(2).fit(X), X, n_rows=3, n_columns=2, image_shape=(3, 4, 4), mask_empty=True
    )
    assert display.cells.shape == (3, 2, 3, 4, 4)
    display.figure_.canvas.draw()
    picture = display.image_.get_array()
    opaque = picture[2::5, 2::5, 3].astype(bool)
    np.testing.assert_array_equal(opaque, display.shown_[::-1])


def test_rows_that_are_no_images_are_lines(pca, digits):
    display = LatentGridDisplay.from_estimator(pca, digits[0], n_rows=3, n_columns=4)
    assert display.cells.shape == (3, 4, 64)
    assert display.image_ is None
    lines = np.array(display.lines_.get_segments())
    assert lines.shape == (12, 64, 2)
    step = np.array([display.x[1] - display.x[0], display.y[1] - display.y[0]])
    middle = lines[5, :, 0].min() / 2 + lines[5, :, 0].max() / 2
    assert middle == pytest.approx(display.x[1])
    assert np.all(np.abs(lines[5, :, 1] - display.y[1]) <= 0.4 * step[1] + 1e-9)
    value = display.cells[1, 1]
    np.testing.assert_allclose(np.corrcoef(lines[5, :, 1], value)[0, 1], 1.0)


def test_lines_by_hand():
    values = np.array([[0.0, 10.0, 5.0], [5.0, 5.0, 5.0]])
    x, y = np.array([1.0, 2.0]), np.array([-1.0, 3.0])
    lines = lines_of(values, x, y, (1.0, 10.0), (0.0, 10.0))
    np.testing.assert_allclose(lines[0], [[0.6, -5.0], [1.0, 3.0], [1.4, -1.0]])
    np.testing.assert_allclose(lines[1], [[1.6, 3.0], [2.0, 3.0], [2.4, 3.0]])
    level = lines_of(values[:, :1], x, y, (1.0, 10.0), (0.0, 10.0))
    np.testing.assert_allclose(level[0], [[0.6, -5.0], [1.4, -5.0]])


def test_picture_by_hand():
    cells = np.array([[[[0.0, 4.0]], [[1.0, 2.0]]], [[[3.0, 8.0]], [[2.0, 0.0]]]])
    shown = np.array([[True, True], [False, True]])
    picture = picture_of(cells, (0.0, 4.0), 1, shown)
    free = np.nan
    expected = [
        [0.0, 1.0, free, 0.25, 0.5],
        [free] * 5,
        [free, free, free, 0.5, 0.0],
    ]
    np.testing.assert_array_equal(picture, expected)


def test_empty_cells_are_left_out(pca, digits):
    display = LatentGridDisplay.from_estimator(
        pca, digits[0], quantiles=(0, 1), image_shape=(8, 8), mask_empty=True
    )
    near = near_points(display.x, display.y, display.points)
    np.testing.assert_array_equal(display.shown_, near)
    assert 0 < near.sum() < near.size
    tiles = ~np.ma.getmaskarray(display.image_.get_array())[4::9, 4::9]
    np.testing.assert_array_equal(tiles, near[::-1])
    lines = LatentGridDisplay.from_estimator(
        pca, digits[0], quantiles=(0, 1), mask_empty=True
    )
    assert len(lines.lines_.get_segments()) == near.sum()


def test_points_lie_over_the_cells_in_the_colours_of_their_classes(pca, digits):
    X, y = digits
    display = LatentGridDisplay.from_estimator(
        pca, X, y, image_shape=(8, 8), points=True
    )
    display.figure_.canvas.draw()
    assert [text.get_text() for text in display.legend_.get_texts()] == list(
        "0123456789"
    )
    sevens = display.scatters_[7].get_offsets()
    np.testing.assert_allclose(sevens, pca.transform(X[y == 7])[:, :2])
    assert display.scatters_[7].get_zorder() > display.image_.get_zorder()
    plain = LatentGridDisplay.from_estimator(pca, X, points=True)
    assert len(plain.scatters_) == 1
    assert plain.legend_ is None


def test_of_many_points_some_are_drawn(pca, digits):
    X = np.tile(digits[0], (3, 1))
    display = LatentGridDisplay.from_estimator(pca, X, points=True)
    np.testing.assert_allclose(display.scatters_[0].get_offsets(), display.points[::3])


def test_plot_draws_into_given_axes(pca, digits):
    ax = Figure().add_subplot()
    display = LatentGridDisplay.from_estimator(
        pca, digits[0], image_shape=(8, 8), ax=ax, im_kwargs={"cmap": "gray_r"}
    )
    assert display.ax_ is ax
    assert display.image_.get_cmap().name == "gray_r"
    lines = LatentGridDisplay.from_estimator(
        pca, digits[0], line_kwargs={"linewidths": 3}
    )
    assert lines.lines_.get_linewidths() == [3]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_rows": 1}, "n_rows must be an int >= 2, got 1"),
        ({"n_columns": 0}, "n_columns must be an int >= 2"),
        ({"quantiles": (0.9, 0.1)}, r"quantiles must rise, got \(0.9, 0.1\)"),
        ({"quantiles": (0.1, 1.1)}, r"quantiles\[1\] must be a number in \[0, 1\]"),
        ({"quantiles": 0.1}, "quantiles must be a pair"),
        ({"components": (0, 4)}, "components must be an int between 0 and 3, got 4"),
        ({"components": (1, 1)}, "two different ones"),
        ({"components": (1,)}, "two different ones"),
        ({"image_shape": (8, 7)}, "64 values in all"),
        ({"y": [1, 2]}, "one label for each of the 500 rows"),
    ],
)
def test_parameters_that_are_refused(pca, digits, parameters, message):
    with pytest.raises(ValueError, match=message):
        LatentGridDisplay.from_estimator(pca, digits[0], **parameters)


def test_estimators_that_are_refused(digits):
    X = digits[0]
    with pytest.raises(ValueError, match="TraversalDisplay draws what one"):
        LatentGridDisplay.from_estimator(PCA(1).fit(X), X)
    with pytest.raises(TypeError, match="TSNE has no transform"):
        LatentGridDisplay.from_estimator(TSNE(), X)


def test_a_display_without_points_cannot_tell_what_is_empty():
    display = LatentGridDisplay(
        x=np.arange(2.0), y=np.arange(2.0), cells=np.zeros((2, 2, 3))
    )
    assert display.plot().lines_ is not None
    for asked in ({"points": True}, {"mask_empty": True}):
        with pytest.raises(ValueError, match="points must be given to the display"):
            display.plot(**asked)
