import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer

from manifoldgen import TraversalDisplay, interpolate, interpolate_latents
from manifoldgen.plotting._traversal import paths_along

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(4).fit(digits[0])


def test_a_path_changes_one_component_alone():
    Z = np.random.default_rng(0).normal(size=(200, 3))
    levels = np.array([0.1, 0.5, 0.7])
    paths = paths_along(Z, [2, 0], levels)
    for path, component in zip(paths, (2, 0), strict=True):
        for step, level in zip(path, levels, strict=True):
            expected = np.median(Z, axis=0)
            expected[component] = np.quantile(Z[:, component], level)
            np.testing.assert_allclose(step, expected)
    start = np.array([[7.0, 8.0, 9.0]])
    moved = paths_along(Z, [1], levels, start)[0]
    np.testing.assert_array_equal(moved[:, [0, 2]], [[7.0, 9.0]] * 3)
    np.testing.assert_allclose(moved[:, 1], np.quantile(Z[:, 1], levels))


def test_a_traversal_decodes_its_paths(pca, digits):
    X = digits[0]
    display = TraversalDisplay.from_estimator(
        pca, X, row=X[3], n=5, components=(3, 1), image_shape=(8, 8)
    )
    assert display.cells.shape == (2, 5, 8, 8)
    Z = pca.transform(X)
    z = Z[3].copy()
    z[1] = np.quantile(Z[:, 1], 0.74)  # the fourth of five levels from .02 to .98
    expected = pca.inverse_transform(z[None]).reshape(8, 8)
    np.testing.assert_allclose(display.cells[1, 3], expected, atol=1e-9)
    np.testing.assert_allclose(display.latents[1, 3], z)
    assert display.value_range == (0.0, 16.0)


def test_rows_and_columns_are_named(pca, digits):
    display = TraversalDisplay.from_estimator(
        pca, digits[0], n=3, quantiles=(0.1, 0.9), image_shape=(8, 8)
    )
    display.figure_.canvas.draw()
    down = [label.get_text() for label in display.ax_.get_yticklabels()]
    across = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert down == [f"component {k}" for k in (1, 2, 3, 4)]
    assert across == ["10", "50", "90"]
    assert display.ax_.get_xlabel() == "quantile of the component (%)"
    tops, lefts = display.ax_.get_yticks(), display.ax_.get_xticks()
    picture = display.image_.get_array()
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            i, j = int(top + 0.5), int(left + 0.5)
            tile = picture[i - 4 : i + 4, j - 4 : j + 4]
            expected = np.clip(display.cells[row, column] / 16, 0, 1)
            np.testing.assert_allclose(tile, expected, atol=1e-12)


def test_of_many_components_the_first_twelve(digits):
    X = digits[0]
    display = TraversalDisplay.from_estimator(PCA(15).fit(X), X, image_shape=(8, 8))
    assert display.cells.shape[:2] == (12, 9)
    one = TraversalDisplay.from_estimator(PCA(1).fit(X), X, image_shape=(8, 8))
    assert one.cells.shape[:2] == (1, 9)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_an_interpolation_is_that_of_the_function(pca, digits, method):
    X = digits[0]
    display = TraversalDisplay.from_interpolation(
        pca, X[:2], X[2:4], n=5, method=method, image_shape=(8, 8)
    )
    expected = interpolate(pca, X[:2], X[2:4], 5, method=method)
    np.testing.assert_allclose(display.cells.reshape(2, 5, 64), expected)
    Z = pca.transform(X[:4])
    path = interpolate_latents(Z[:2], Z[2:], 5, method=method)
    np.testing.assert_allclose(display.latents, path)
    assert display.ax_.get_xlabel() == f"{method} path from a to b"
    across = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert across == ["a", "", "", "", "b"]
    assert len(display.ax_.get_yticks()) == 0


def test_one_pair_is_one_row(pca, digits):
    X = digits[0]
    display = TraversalDisplay.from_interpolation(pca, X[0], X[1], image_shape=(8, 8))
    assert display.cells.shape == (1, 9, 8, 8)


def test_a_pipeline_that_generates(digits):
    X = digits[0]
    pipe = make_pipeline(MinMaxScaler(), PCA(2), GaussianMixture()).fit(X)
    display = TraversalDisplay.from_estimator(pipe, X, n=3)
    Z = pipe[:-1].transform(X)
    z = [[np.median(Z[:, 0]), np.quantile(Z[:, 1], 0.98)]]
    expected = pipe[:-1].inverse_transform(z)[0]
    np.testing.assert_allclose(display.cells[1, 2], expected, atol=1e-9)


def test_rows_that_are_no_images_are_lines_the_right_way_up(pca, digits):
    display = TraversalDisplay.from_estimator(pca, digits[0], n=3)
    assert display.image_ is None
    lines = np.array(display.lines_.get_segments())
    assert lines.shape == (12, 64, 2)
    shown = display.ax_.transData.transform(lines[4])  # second path, second step
    value = display.cells[1, 1]
    np.testing.assert_allclose(np.corrcoef(shown[:, 1], value)[0, 1], 1.0)
    middle = (lines[4, 0] + lines[4, -1])[0] / 2
    assert middle == pytest.approx(display.ax_.get_xticks()[1])
    first, last = (display.ax_.transData.transform(lines[k])[:, 1] for k in (0, -1))
    assert first.mean() > last.mean()


def test_plot_draws_into_given_axes(pca, digits):
    ax = Figure().add_subplot()
    display = TraversalDisplay.from_estimator(
        pca, digits[0], image_shape=(8, 8), ax=ax, im_kwargs={"cmap": "gray_r"}
    )
    assert display.ax_ is ax
    assert display.image_.get_cmap().name == "gray_r"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n": 1}, "n must be an int >= 2, got 1"),
        ({"components": ()}, "name at least one"),
        ({"components": 2}, "name at least one"),
        ({"components": (0, 4)}, "components must be an int between 0 and 3, got 4"),
        ({"quantiles": (0.5, 0.5)}, "quantiles must rise"),
        ({"image_shape": (8, 7)}, "64 values in all"),
        ({"row": np.zeros((2, 64))}, "row must be one row of data, got 2"),
        ({"row": np.zeros(3)}, "64 features"),
    ],
)
def test_parameters_that_are_refused(pca, digits, parameters, message):
    with pytest.raises(ValueError, match=message):
        TraversalDisplay.from_estimator(pca, digits[0], **parameters)


def test_other_bad_input(pca, digits):
    X = digits[0]
    with pytest.raises(ValueError, match="PCA holds no embedding_"):
        TraversalDisplay.from_estimator(pca)
    with pytest.raises(TypeError, match="Normalizer has no inverse_transform"):
        TraversalDisplay.from_interpolation(Normalizer().fit(X), X[0], X[1])
    with pytest.raises(ValueError, match="same shape"):
        TraversalDisplay.from_interpolation(pca, X[0], X[:2])


def test_a_path_is_drawn_in_the_range_of_its_ends(digits):
    X, _ = digits
    pca = PCA(20).fit(X)
    display = TraversalDisplay.from_interpolation(
        pca, X[0], X[1], image_shape=(8, 8), n=5
    )
    assert display.value_range == (X[:2].min(), X[:2].max())
    assert display.cells.min() < display.value_range[0]
