import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer

from manifoldgen import (
    AttributeDirectionDisplay,
    attribute_direction,
    shift_attribute,
)

mpl.use("agg")

from_estimator = AttributeDirectionDisplay.from_estimator


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(6).fit(digits[0])


@pytest.mark.parametrize("method", ["mean", "discriminant"])
def test_cells_are_shifted_rows(pca, digits, method):
    X, y = digits
    display = from_estimator(
        pca, X, y, rows=X[3:5], label=8, method=method, image_shape=(8, 8)
    )
    found = attribute_direction(pca, X, y, method=method)
    expected = shift_attribute(pca, X[3:5], found, np.arange(-3, 4), label=8)
    np.testing.assert_allclose(display.cells.reshape(2, 7, 64), expected, atol=1e-9)
    places = found.project(pca.transform(X))[:, 8]
    np.testing.assert_allclose(display.places, [places, places])
    np.testing.assert_allclose(display.starts, places[3:5])
    np.testing.assert_array_equal(display.members, [y == 8, y == 8])
    np.testing.assert_allclose(display.correlations, found.correlations[[8, 8]])
    assert display.group_names == ("other classes", "8")
    assert display.value_range == (0.0, 16.0)


def test_of_many_classes_a_path_towards_each_from_the_mean(pca, digits):
    X, y = digits
    display = from_estimator(pca, X, y, steps=[0, 2], image_shape=(8, 8))
    assert display.cells.shape == (10, 2, 8, 8)
    found = attribute_direction(pca, X, y)
    middle = pca.inverse_transform(found.center[None]).reshape(8, 8)
    for k in range(10):
        np.testing.assert_allclose(display.cells[k, 0], middle, atol=1e-9)
        moved = found.center + 2 * found.toward(k)
        expected = pca.inverse_transform(moved[None]).reshape(8, 8)
        np.testing.assert_allclose(display.cells[k, 1], expected, atol=1e-9)
        np.testing.assert_array_equal(display.members[k], y == k)
    np.testing.assert_allclose(display.places, found.project(pca.transform(X)).T)
    np.testing.assert_allclose(display.starts, 0.0, atol=1e-12)
    down = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert down == [str(k) for k in range(10)]
    assert display.group_names == ("other classes", "class")


def test_of_very_many_classes_the_first_twelve(pca, digits):
    X, _ = digits
    y = np.char.add("name ", (np.arange(500) % 30).astype(str))
    display = from_estimator(pca, X, y, steps=[0, 1], image_shape=(8, 8))
    assert display.cells.shape[:2] == (12, 2)
    assert list(display.path_names) == np.unique(y)[:12].tolist()


def test_two_classes_and_the_way_back(pca, digits):
    X, y = digits
    names = np.where(y > 4, "high", "low").tolist()
    low = from_estimator(pca, X, names, image_shape=(8, 8))
    high = from_estimator(pca, X, names, label="high", image_shape=(8, 8))
    assert low.group_names == ("high", "low")
    assert high.group_names == ("low", "high")
    np.testing.assert_array_equal(low.members[0], y <= 4)
    np.testing.assert_array_equal(high.members, ~low.members)
    np.testing.assert_allclose(high.places, -low.places)
    np.testing.assert_allclose(high.cells, low.cells[:, ::-1], atol=1e-9)
    legend = [text.get_text() for text in high.legend_.get_texts()]
    assert legend == ["low", "high"]


def test_histograms_hold_shares_of_each_group(pca, digits):
    X, y = digits
    display = from_estimator(pca, X, y > 4, image_shape=(8, 8))
    heights = []
    for patch in display.places_ax_.patches:
        tops, edges, base = patch.get_data()
        assert len(tops) == len(edges) - 1
        heights.append(base - tops)
    shares = [heights[k] / heights[k].sum() for k in range(2)]
    for member, share in zip((y <= 4, y > 4), shares, strict=True):
        counts = np.histogram(display.places[0][member], edges)[0]
        np.testing.assert_allclose(share, counts / counts.sum(), atol=1e-12)
    # of one area, and drawn within the cell
    np.testing.assert_allclose(heights[0].sum(), heights[1].sum())
    assert max(h.max() for h in heights) < 8


def test_a_number_has_one_histogram(pca, digits):
    X, _ = digits
    display = from_estimator(pca, X, X.sum(axis=1) / 3, image_shape=(8, 8))
    assert display.members is None
    assert display.legend_ is None
    assert len(display.places_ax_.patches) == 1


def test_steps_are_drawn_where_they_lie_and_all_is_inside_the_figure(pca, digits):
    X, y = digits
    display = from_estimator(
        pca, X, y, rows=X[2], label=1, steps=[-1, 0, 2.5], image_shape=(8, 8)
    )
    path, start = display.places_ax_.lines
    np.testing.assert_allclose(path.get_xdata(), display.starts[0] + [-1, 0, 2.5])
    np.testing.assert_allclose(start.get_xdata(), display.starts)
    display.figure_.canvas.draw()
    across = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert across == ["-1", "0", "+2.5"]
    box, (width, height) = (
        display.figure_.get_tightbbox(),
        display.figure_.get_size_inches(),
    )
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    # the histograms are seen by whatever crops a picture
    assert box.x1 > display.ax_.get_window_extent().x1 / display.figure_.dpi + 2


def test_a_pipeline_that_generates_and_rows_that_are_no_images(digits):
    X, y = digits
    pipe = make_pipeline(MinMaxScaler(), PCA(2), GaussianMixture()).fit(X)
    display = from_estimator(pipe, X, y > 4, steps=[0, 1])
    assert display.image_ is None
    assert len(display.lines_.get_segments()) == 2
    expected = pipe[:-1].inverse_transform([np.zeros(2)])[0]
    np.testing.assert_allclose(display.cells[0, 0], expected, atol=1e-9)
    assert display.value_range is None


def test_plot_draws_into_given_axes(pca, digits):
    X, y = digits
    ax = Figure().add_subplot()
    display = from_estimator(
        pca,
        X,
        y > 4,
        image_shape=(8, 8),
        ax=ax,
        im_kwargs={"cmap": "gray_r"},
        stairs_kwargs={"alpha": 0.25},
    )
    assert display.ax_ is ax
    assert display.image_.get_cmap().name == "gray_r"
    assert display.places_ax_.patches[0].get_alpha() == 0.25


def test_bad_input(pca, digits):
    X, y = digits
    with pytest.raises(ValueError, match="label must name a class where rows are sev"):
        from_estimator(pca, X, y, rows=X[:2])
    with pytest.raises(ValueError, match="label must be one of"):
        from_estimator(pca, X, y, label=12)
    with pytest.raises(ValueError, match="steps must be a sequence"):
        from_estimator(pca, X, y, steps=[])
    with pytest.raises(ValueError, match="64 values in all"):
        from_estimator(pca, X, y, image_shape=(8, 7))
    with pytest.raises(TypeError, match="Normalizer has no inverse_transform"):
        from_estimator(Normalizer().fit(X), X, y)
