import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import beta, chi2, uniform
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from manifoldgen import MahalanobisScorer, ReferenceLawDisplay
from manifoldgen.outliers._pvalues import scaled_f
from manifoldgen.plotting._reference_law import (
    conformal_band,
    order_band,
    order_places,
)

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(900, 4))


def scorer_of(**parameters):
    return MahalanobisScorer(random_state=0, **parameters)


def test_band_is_that_of_order_statistics():
    law = chi2(3)
    band = order_band(law, 9, 0.9)
    rank = np.arange(1, 10)
    for found, share in zip(band, (0.5, 0.05, 0.95), strict=True):
        expected = law.ppf(beta.ppf(share, rank, 10 - rank))
        np.testing.assert_allclose(found, expected)


def test_band_holds_as_often_as_it_says():
    rng = np.random.default_rng(0)
    band = order_band(uniform(), 50, 0.9)
    drawn = np.sort(rng.uniform(size=(4000, 50)), axis=1)[:, order_places(50) - 1]
    inside = np.mean((drawn >= band.lower) & (drawn <= band.upper), axis=0)
    assert np.abs(inside - 0.9).max() < 4.5 * np.sqrt(0.9 * 0.1 / 4000)


def test_band_of_pvalues_that_share_calibration_rows_holds_as_often():
    rng = np.random.default_rng(0)
    n, m, repeats = 30, 199, 4000
    drawn = rng.uniform(size=(repeats, n))
    calibration = rng.uniform(size=(repeats, m))
    above = (calibration[:, None] >= drawn[..., None]).sum(axis=2)
    pvalues = np.sort((1 + above) / (1 + m), axis=1)[:, order_places(n) - 1]
    band = conformal_band(n, m, 0.9)
    inside = np.mean((pvalues >= band.lower) & (pvalues <= band.upper), axis=0)
    error = np.sqrt(0.9 * 0.1 / repeats)
    assert inside.min() > 0.9 - 4.5 * error  # of a law on a grid: at least
    wider = np.array([band.lower + 1e-9, band.upper - 1e-9])
    inside = np.mean((pvalues > wider[0]) & (pvalues < wider[1]), axis=0)
    assert inside.max() < 0.9 + 4.5 * error  # and no wider than it need be


def test_of_many_calibration_rows_the_bands_are_one():
    found, limit = conformal_band(40, 20_000, 0.95), order_band(uniform(), 40, 0.95)
    np.testing.assert_allclose(found.lower, limit.lower, atol=2e-3)
    np.testing.assert_allclose(found.upper, limit.upper, atol=2e-3)


def test_places_are_few_and_hold_both_ends():
    assert order_places(1).tolist() == [1]
    assert order_places(5).tolist() == [1, 2, 3, 4, 5]
    places = order_places(50_000)
    assert len(places) <= 120
    assert places[[0, 1, -2, -1]].tolist() == [1, 2, 49_999, 50_000]


def test_points_are_sorted_values_over_medians_of_the_law():
    display = ReferenceLawDisplay.from_distances([5.0, 1.0, 3.0], n_features=2)
    offsets = display.points_.get_offsets()
    np.testing.assert_array_equal(offsets[:, 1], [1.0, 3.0, 5.0])
    medians = beta.median([1, 2, 3], [3, 2, 1])
    np.testing.assert_allclose(offsets[:, 0], -2 * np.log1p(-medians))
    assert display.line_.get_xydata()[:, 0].tolist() == offsets[[0, 2], 0].tolist()
    np.testing.assert_array_equal(*display.line_.get_data())
    edges = display.band_.get_paths()[0].vertices
    assert edges[:, 1].min() == display.band[1].min()
    assert edges[:, 1].max() == display.band[2].max()


def test_pixels_of_images_are_columns(rows):
    images = rows[:120].reshape(-1, 2, 2)
    scorer = scorer_of(covariance="empirical", pvalue_method="f").fit(images)
    display = ReferenceLawDisplay.from_estimator(scorer, images)
    assert display.law == "the F law of 4 columns and 120 rows"


def test_gaussian_rows_lie_along_the_diagonal_of_the_f_law(rows):
    scorer = scorer_of(covariance="empirical", pvalue_method="f").fit(rows[:60])
    display = ReferenceLawDisplay.from_estimator(scorer, rows[60:])
    assert display.law == "the F law of 4 columns and 60 rows"
    np.testing.assert_array_equal(
        display.observed, np.sort(scorer.mahalanobis(rows[60:]))
    )
    pvalues = scorer.pvalue(rows[60:])
    np.testing.assert_allclose(
        np.sort(scaled_f(60, 4).sf(scorer.mahalanobis(rows[60:]))), np.sort(pvalues)
    )
    inside = [
        np.mean((found >= lower) & (found <= upper))
        for found, (_, lower, upper) in (
            (display.observed[order_places(840) - 1], display.band),
            (2 * display.observed[order_places(840) - 1], display.band),
        )
    ]
    assert inside[0] > 0.8 > 0.3 > inside[1]


def test_what_a_scorer_goes_by_is_its_law(rows):
    conformal = scorer_of().fit(rows[:400])
    display = ReferenceLawDisplay.from_estimator(conformal, rows[400:])
    assert (display.law, display.quantity) == ("the uniform law", "p-value")
    np.testing.assert_array_equal(
        display.observed, np.sort(conformal.pvalue(rows[400:]))
    )
    band = conformal_band(500, 80, 0.95)
    np.testing.assert_array_equal(display.band.lower, band.lower)
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "log"
    exact = scorer_of(covariance="empirical", pvalue_method="f").fit(rows[:400])
    display = ReferenceLawDisplay.from_estimator(exact, rows[400:], law="uniform")
    np.testing.assert_array_equal(
        display.band.lower, order_band(uniform(), 500, 0.95).lower
    )
    pipe = make_pipeline(PCA(2), EmpiricalCovariance()).fit(rows)
    display = ReferenceLawDisplay.from_estimator(pipe, rows)
    assert display.law == "the chi-squared law of 2 columns"


def test_a_scorer_is_found_in_pipelines_and_behind_frost(rows):
    plain = scorer_of().fit(rows[:400, :2])
    steps = FunctionTransformer(lambda X: X[:, :2]), "passthrough", plain
    nested = make_pipeline(steps[0], make_pipeline(*steps[1:]))
    expected = ReferenceLawDisplay.from_estimator(plain, rows[400:, :2])
    for estimator in (nested, FrozenEstimator(nested)):
        display = ReferenceLawDisplay.from_estimator(estimator, rows[400:])
        np.testing.assert_array_equal(display.observed, expected.observed)
        # that of p-values which share calibration rows
        np.testing.assert_array_equal(display.band, expected.band)


def test_one_row_has_a_point_and_style_is_taken():
    ax = Figure().add_subplot()
    display = ReferenceLawDisplay.from_pvalues(
        [0.2],
        confidence=0.8,
        ax=ax,
        log=True,
        scatter_kwargs={"label": "mine"},
        line_kwargs={"linestyle": ":"},
        band_kwargs={"alpha": 0.5},
    )
    assert display.points_.get_offsets().tolist() == [[0.5, 0.2]]
    np.testing.assert_allclose(display.band, [[0.5], [0.1], [0.9]])
    assert display.ax_ is ax
    assert not plt.get_fignums()
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == ["80 % at each place", "mine"]
    assert display.line_.get_linestyle() == ":"
    assert display.band_.get_alpha() == 0.5
    assert ax.get_xscale() == "log"


def test_bad_input(rows):
    with pytest.raises(ValueError, match=r"pvalues must be in \[0, 1\], got values"):
        ReferenceLawDisplay.from_pvalues([0.2, 1.5])
    with pytest.raises(ValueError, match="pvalues must hold no NaN"):
        ReferenceLawDisplay.from_pvalues([np.nan])
    with pytest.raises(ValueError, match="distances must have shape"):
        ReferenceLawDisplay.from_distances([], n_features=2)
    with pytest.raises(ValueError, match="confidence must be a number in"):
        ReferenceLawDisplay.from_pvalues([0.2], confidence=1.0)
    with pytest.raises(ValueError, match="law must be one of 'chi2', 'f', got"):
        ReferenceLawDisplay.from_distances([1.0], n_features=2, law="uniform")
    with pytest.raises(ValueError, match="F law needs more rows than columns"):
        ReferenceLawDisplay.from_distances([1.0], n_features=4, n_samples=4, law="f")
    with pytest.raises(TypeError, match="n_samples must be an int >= 3, got None"):
        ReferenceLawDisplay.from_distances([1.0], n_features=2, law="f")
    covariance = EmpiricalCovariance().fit(rows)
    with pytest.raises(TypeError, match="must have pvalue, or end in a step"):
        ReferenceLawDisplay.from_estimator(covariance, rows, law="uniform")
    with pytest.raises(ValueError, match="law must be one of 'chi2', 'f', 'uniform'"):
        ReferenceLawDisplay.from_estimator(covariance, rows, law="normal")
