import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer

from manifoldgen import LatentArithmeticDisplay, latent_arithmetic

mpl.use("agg")

from_estimator = LatentArithmeticDisplay.from_estimator


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(6).fit(digits[0])


@pytest.fixture(scope="module")
def groups(digits):
    X, y = digits
    return X[y == 8], X[y == 1], X[y == 3]


def test_tiles_are_decoded_means_and_the_result(pca, groups):
    a, b, c = groups
    display = from_estimator(pca, [a, b], [c], image_shape=(8, 8))
    assert display.tiles.shape == (4, 8, 8)
    for tile, rows in zip(display.tiles, groups, strict=False):
        mean = pca.transform(rows).mean(axis=0)
        expected = pca.inverse_transform(mean[None]).reshape(8, 8)
        np.testing.assert_allclose(tile, expected, atol=1e-9)
    expected = latent_arithmetic(pca, [a, b], [c]).reshape(8, 8)
    np.testing.assert_allclose(display.tiles[3], expected, atol=1e-9)
    np.testing.assert_allclose(
        display.latents[3], display.latents[:3].T @ [1, 1, -1], atol=1e-9
    )
    assert display.value_range == (0.0, 16.0)


def test_signs_lie_between_the_tiles_and_names_below(pca, groups):
    a, b, c = groups
    display = from_estimator(
        pca, [a, b], [c], names=["eight", "one", "three"], image_shape=(8, 8)
    )
    assert [sign.get_text() for sign in display.signs_] == ["+", "\u2212", "="]
    names = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert names == ["eight", "one", "three", "result"]
    centers = display.ax_.get_xticks()
    for sign, left, right in zip(
        display.signs_, centers[:-1], centers[1:], strict=True
    ):
        assert sign.get_position() == pytest.approx(((left + right) / 2, 4.0))
    picture = display.image_.get_array()
    for center, tile in zip(centers, display.tiles, strict=True):
        shown = picture[:, int(center) - 4 : int(center) + 4]
        np.testing.assert_allclose(shown, np.clip(tile / 16, 0, 1), atol=1e-12)


def test_a_first_group_that_is_subtracted_has_its_sign(pca, groups):
    display = from_estimator(pca, [], [groups[0]], image_shape=(8, 8))
    assert [sign.get_text() for sign in display.signs_] == ["\u2212", "="]
    assert all(sign.get_position()[0] > 0 for sign in display.signs_)


def test_names_tell_the_rows_of_a_group(pca, groups):
    a, b, c = groups
    display = from_estimator(pca, [a, b[0]], [c], image_shape=(8, 8))
    counts = [f"mean of {len(a)}", "one row", f"mean of {len(c)}", "result"]
    assert display.names == counts
    stacked = FunctionTransformer(  # which takes images and gives them back
        lambda X: X.reshape(len(X), -1), inverse_func=lambda Z: Z.reshape(-1, 8, 8)
    )
    stacked._shape_in = (8, 8)
    images = a.reshape(-1, 8, 8)
    display = from_estimator(stacked, [images[0], images])
    assert display.names == ["one row", f"mean of {len(a)}", "result"]
    named = from_estimator(pca, [a], names=["x", "y"], image_shape=(8, 8))
    assert named.names == ["x", "y"]
    for names in ("ab", ["a"] * 5):
        with pytest.raises(ValueError, match="one for each of the 3 groups"):
            from_estimator(pca, [a, b], [c], names=names, image_shape=(8, 8))


def test_a_pipeline_that_generates_and_rows_that_are_no_images(digits, groups):
    a, b, c = groups
    pipe = make_pipeline(MinMaxScaler(), PCA(2), GaussianMixture()).fit(digits[0])
    display = from_estimator(pipe, [a, b], [c])
    assert display.image_ is None
    lines = np.array(display.lines_.get_segments())
    assert lines.shape == (4, 64, 2)
    shown = display.ax_.transData.transform(lines[3])[:, 1]
    np.testing.assert_allclose(np.corrcoef(shown, display.tiles[3])[0, 1], 1.0)


def test_plot_draws_into_given_axes(pca, groups):
    ax = Figure().add_subplot()
    display = from_estimator(
        pca,
        list(groups),
        image_shape=(8, 8),
        ax=ax,
        im_kwargs={"cmap": "gray_r"},
        sign_kwargs={"color": "red"},
    )
    assert display.ax_ is ax
    assert display.image_.get_cmap().name == "gray_r"
    assert display.signs_[0].get_color() == "red"


def test_bad_input(pca, groups):
    a, b, _ = groups
    with pytest.raises(TypeError, match="add must be a list of groups"):
        from_estimator(pca, a, [b], image_shape=(8, 8))
    with pytest.raises(ValueError, match=r"add\[0\] must hold at least one row"):
        from_estimator(pca, [a[:0]], image_shape=(8, 8))
    with pytest.raises(ValueError, match="64 values in all"):
        from_estimator(pca, [a], image_shape=(8, 7))
    with pytest.raises(TypeError, match="Normalizer has no inverse_transform"):
        from_estimator(Normalizer().fit(a), [a])
