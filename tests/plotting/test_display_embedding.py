import matplotlib as mpl
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from manifoldgen import EmbeddingDisplay
from manifoldgen.plotting._embedding import (
    binned_density,
    density_levels,
    principal_plane,
)
from manifoldgen.plotting._style import MAX_CLASSES, class_styles, is_categorical

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def latents():
    spread = np.array([1.0, 5.0, 3.0, 0.1])
    return np.random.default_rng(0).normal(size=(300, 4)) * spread


def test_principal_plane_is_that_of_pca(latents):
    plane, share = principal_plane(latents)
    pca = PCA(2).fit(latents)
    expected = pca.transform(latents)
    np.testing.assert_allclose(np.abs(plane), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(share, pca.explained_variance_ratio_)


def test_principal_plane_of_equal_rows_is_their_point():
    plane, share = principal_plane(np.ones((3, 3)))
    np.testing.assert_array_equal(plane, np.zeros((3, 2)))
    np.testing.assert_array_equal(share, np.zeros(2))


def test_density_levels_hold_their_share_of_points():
    density = np.arange(1.0, 101.0)
    low, high = density_levels(density)
    assert (density >= low).sum() == 90
    assert (density >= high).sum() == 50


def test_more_than_two_components_are_named_with_their_variance(latents):
    share = PCA(2).fit(latents).explained_variance_ratio_
    display = EmbeddingDisplay.from_latents(latents)
    names = (display.ax_.get_xlabel(), display.ax_.get_ylabel())
    assert names == tuple(
        f"principal axis {k + 1} ({100 * share[k]:.0f} % of variance)" for k in range(2)
    )


def test_two_components_are_drawn_as_they_are(latents):
    display = EmbeddingDisplay.from_latents(latents[:, :2])
    offsets = display.scatters_[0].get_offsets()
    np.testing.assert_array_equal(offsets, latents[:, :2])
    assert display.ax_.get_xlabel() == "component 1"


def test_one_component_is_a_strip(latents):
    display = EmbeddingDisplay.from_latents(latents[:, :1], contours=True)
    offsets = display.scatters_[0].get_offsets()
    np.testing.assert_array_equal(offsets[:, 0], latents[:, 0])
    assert len(display.ax_.get_yticks()) == 0


def test_pipeline_is_followed_to_the_step_before_the_generator(latents):
    pipe = make_pipeline(PCA(2), GaussianMixture(random_state=0)).fit(latents)
    display = EmbeddingDisplay.from_estimator(pipe, latents)
    np.testing.assert_allclose(display.embedding, pipe[:-1].transform(latents))


def test_an_embedding_without_transform_takes_its_own_rows(latents):
    X = latents[:40]
    tsne = TSNE(init="random", max_iter=250, perplexity=5, random_state=0).fit(X)
    display = EmbeddingDisplay.from_estimator(tsne, X)
    np.testing.assert_array_equal(display.embedding, tsne.embedding_)
    with pytest.raises(ValueError, match="the 40 rows that TSNE was fitted on"):
        EmbeddingDisplay.from_estimator(tsne, latents)


def test_an_estimator_without_coordinates_is_refused(latents):
    with pytest.raises(TypeError, match="GaussianMixture"):
        EmbeddingDisplay.from_estimator(GaussianMixture().fit(latents), latents)


@pytest.mark.parametrize("n_classes", [1, 2, 10, 11, 20])
def test_each_class_has_its_own_look_and_a_name(latents, n_classes):
    y = np.arange(len(latents)) % n_classes
    display = EmbeddingDisplay.from_latents(latents, y=y, contours=True)
    display.figure_.canvas.draw()
    assert len(display.scatters_) == n_classes
    names = [text.get_text() for text in display.legend_.get_texts()]
    assert names == [str(k) for k in range(n_classes)]
    assert len(set(class_styles(n_classes))) == n_classes
    assert len(display.contours_) == n_classes


def test_points_of_a_class_are_the_rows_with_its_label(latents):
    y = np.where(latents[:, 0] > 0, "right", "left")
    display = EmbeddingDisplay.from_latents(latents[:, :2], y=y, legend=False)
    left, right = (s.get_offsets() for s in display.scatters_)
    assert display.legend_ is None
    np.testing.assert_array_equal(left, latents[y == "left", :2])
    np.testing.assert_array_equal(right, latents[y == "right", :2])


def test_numbers_are_drawn_as_a_scale(latents):
    display = EmbeddingDisplay.from_latents(latents, y=latents[:, 0])
    assert display.colorbar_ is not None
    np.testing.assert_array_equal(display.scatters_[0].get_array(), latents[:, 0])


def test_too_many_classes_are_refused(latents):
    y = np.array([f"class {k}" for k in range(len(latents))])
    with pytest.raises(ValueError, match=f"at most {MAX_CLASSES} classes"):
        EmbeddingDisplay.from_latents(latents, y=y)


def test_labels_of_another_length_are_refused(latents):
    with pytest.raises(ValueError, match="one label for each of the 300 rows"):
        EmbeddingDisplay.from_latents(latents, y=[1, 2])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0, 1, 2]), True),
        (np.array([0.0, 1.0]), True),
        (np.array([0.5, 1.0]), False),
        (np.array(["a", "b"]), True),
        (np.arange(21), False),
        (np.array([True, False]), True),
    ],
)
def test_is_categorical(labels, expected):
    assert is_categorical(labels) is expected


def test_contours_are_left_out_where_points_span_no_plane():
    line = np.column_stack([np.arange(20.0), np.arange(20.0)])
    display = EmbeddingDisplay.from_latents(line, contours=True)
    assert display.contours_ == []


def test_density_is_that_of_scipy_with_the_same_kernel():
    points = np.random.default_rng(0).normal(size=(400, 2)) * [1.0, 20.0]
    density = binned_density(points, 0.3)
    kernels = [norm(points[:, k], 0.3 * points[:, k].std()) for k in (0, 1)]
    across = kernels[0].pdf(density.x[:, None])
    up = kernels[1].pdf(density.y[:, None])
    expected = up @ across.T / len(points)
    error = np.abs(density.heights - expected).max()
    assert error < 0.02 * expected.max()
    share = density.heights.sum() * np.ptp(density.x[:2]) * np.ptp(density.y[:2])
    assert 0.98 < share < 1.001


def test_density_at_the_points_says_how_many_a_level_holds():
    rng = np.random.default_rng(0)
    hills = [(500, -9.0), (300, 0.0), (200, 9.0)]
    points = np.concatenate([rng.normal(x, 1.0, size=(n, 2)) for n, x in hills])
    density = binned_density(points, 0.1)
    (level,) = density_levels(density.at_points, (0.8,))
    column = np.abs(points[:, :1] - density.x).argmin(axis=1)
    row = np.abs(points[:, 1:] - density.y).argmin(axis=1)
    np.testing.assert_array_equal(density.heights[row, column], density.at_points)
    assert (density.heights[row, column] >= level).mean() == 0.8


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((50, 2)),
        np.column_stack([np.arange(50.0), np.full(50, 1e6)]),
        np.random.default_rng(0).normal(size=(9, 2)),
    ],
    ids=["equal", "level", "few"],
)
def test_density_is_left_out_where_there_is_none(points):
    assert binned_density(points, 0.3) is None
    display = EmbeddingDisplay.from_latents(points, density=True)
    display.figure_.canvas.draw()
    assert display.density_ is None


def test_density_lies_under_the_points_of_any_label(latents):
    y = np.where(np.arange(len(latents)) % 3, -1, 4)
    plain = EmbeddingDisplay.from_latents(latents, y=y)
    display = EmbeddingDisplay.from_latents(latents, y=y, density=True)
    display.figure_.canvas.draw()
    assert plain.density_ is None
    assert display.density_.get_zorder() < min(
        scatter.get_zorder() for scatter in display.scatters_
    )
    assert [text.get_text() for text in display.legend_.get_texts()] == ["-1", "4"]
    levels = binned_density(display.embedding, 0.4 * len(latents) ** (-1 / 6)).at_points
    expected = density_levels(levels, (0.2, 0.4, 0.6, 0.8, 0.95))
    np.testing.assert_allclose(display.density_.levels, expected)
    assert display.scatters_[0].get_sizes() < plain.scatters_[0].get_sizes()


def test_density_takes_keywords_and_a_strip_has_none(latents):
    display = EmbeddingDisplay.from_latents(
        latents, density=True, density_kwargs={"levels": [0.001, 0.01, 0.02]}
    )
    assert display.density_.levels.tolist() == [0.001, 0.01, 0.02]
    strip = EmbeddingDisplay.from_latents(latents[:, :1], density=True)
    assert strip.density_ is None


@pytest.mark.parametrize(("n_points", "rasterized"), [(300, False), (6000, True)])
def test_many_points_are_pixels_in_a_file_of_vectors(n_points, rasterized):
    Z = np.random.default_rng(0).normal(size=(n_points, 2))
    display = EmbeddingDisplay.from_latents(Z)
    assert bool(display.scatters_[0].get_rasterized()) is rasterized
