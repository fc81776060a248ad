import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from manifoldgen import ShepardDisplay
from manifoldgen.metrics import shepard_correlation
from manifoldgen.plotting._shepard import medians_over

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(40, 6)) * [5, 4, 3, 2, 1, 1]


def test_all_pairs_where_there_are_no_more(rows):
    pca = PCA(2).fit(rows)
    display = ShepardDisplay.from_estimator(pca, rows)
    far, up = pdist(rows), pdist(pca.transform(rows))
    np.testing.assert_allclose(np.sort(display.distances_X), np.sort(far))
    np.testing.assert_allclose(np.sort(display.distances_Z), np.sort(up))
    assert display.correlation == pytest.approx(spearmanr(far, up).statistic)
    expected = f"Spearman correlation {display.correlation:.2f}"
    assert display.ax_.get_title() == expected


def test_the_title_tells_the_metric(rows):
    pairs = {"n_pairs": 200, "random_state": 3}
    display = ShepardDisplay.from_latents(rows, rows[:, 2:], **pairs)
    expected = shepard_correlation(rows, rows[:, 2:], **pairs)
    assert display.correlation == pytest.approx(expected, abs=1e-12)
    alone = ShepardDisplay(
        distances_X=display.distances_X, distances_Z=display.distances_Z
    )
    assert alone.plot().ax_.get_title() == ""


def test_pairs_are_drawn_by_the_seed(rows):
    Z = rows[:, :2]
    same = [ShepardDisplay.from_latents(rows, Z, n_pairs=100) for _ in range(2)]
    other = ShepardDisplay.from_latents(rows, Z, n_pairs=100, random_state=1)
    assert len(other.distances_X) == 100
    np.testing.assert_array_equal(same[0].distances_X, same[1].distances_X)
    assert not np.array_equal(same[0].distances_X, other.distances_X)


def test_the_mesh_counts_each_pair_once(rows):
    display = ShepardDisplay.from_latents(rows, rows[:, :2])
    counts = display.image_.get_array()
    assert counts.sum() == 40 * 39 / 2
    assert counts.min() >= 1  # bins without a pair are left white
    expected, _, _ = np.histogram2d(
        display.distances_X, display.distances_Z, bins=counts.shape[0]
    )
    np.testing.assert_array_equal(counts.filled(0), expected.T)


def test_a_map_that_keeps_distances_is_a_line(rows):
    display = ShepardDisplay.from_latents(rows, 3.0 * rows, n_bins=12)
    assert display.correlation == pytest.approx(1.0)
    centers, medians = display.median_.get_data()
    width = np.ptp(display.distances_X) / 12
    np.testing.assert_allclose(medians, 3.0 * centers, atol=1.5 * width)


def test_medians_by_hand():
    across = np.repeat([0.0, 1.0, 2.0, 4.0], [10, 9, 11, 10])
    up = np.concatenate([np.arange(10), np.zeros(9), np.arange(11), np.ones(10)])
    centers, medians = medians_over(across, up, 4)
    np.testing.assert_array_equal(centers, [0.5, 2.5, 3.5])
    np.testing.assert_array_equal(medians, [4.5, 5.0, 1.0])


def test_images_and_pipelines_that_generate(digits):
    X = digits[0][:60]
    pipe = make_pipeline(PCA(2), GaussianMixture(random_state=0)).fit(X)
    display = ShepardDisplay.from_estimator(pipe, X)
    images = ShepardDisplay.from_latents(X.reshape(-1, 8, 8), pipe[:-1].transform(X))
    np.testing.assert_allclose(images.distances_X, display.distances_X)
    np.testing.assert_allclose(images.distances_Z, display.distances_Z)


@pytest.mark.parametrize("n", [2, 3, 12])
def test_equal_coordinates_have_no_correlation(rows, n):
    display = ShepardDisplay.from_latents(rows[:n], np.zeros((n, 2)))
    display.figure_.canvas.draw()
    assert display.correlation == 0.0
    assert display.image_.get_array().sum() == n * (n - 1) / 2


def test_plot_draws_into_given_axes(rows):
    ax = Figure().add_subplot()
    display = ShepardDisplay.from_latents(
        rows, rows[:, :2], ax=ax, n_bins=7, mesh_kwargs={"cmap": "Greys"}
    )
    assert display.ax_ is ax
    assert display.image_.get_cmap().name == "Greys"
    assert display.image_.get_array().shape == (7, 7)


def test_bad_input_is_refused(rows):
    with pytest.raises(ValueError, match="40 and 39"):
        ShepardDisplay.from_latents(rows, rows[:39])
    with pytest.raises(ValueError, match="n_bins must be an int >= 1, got 0"):
        ShepardDisplay.from_latents(rows, rows, n_bins=0)
    with pytest.raises(ValueError, match="n_pairs must be an int >= 1"):
        ShepardDisplay.from_latents(rows, rows, n_pairs=0)
    with pytest.raises(TypeError, match="GaussianMixture"):
        ShepardDisplay.from_estimator(GaussianMixture().fit(rows), rows)
