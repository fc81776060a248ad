import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from manifoldgen import MahalanobisScorer, ScoreDistributionDisplay
from manifoldgen.plotting._score_distribution import bin_edges, share_text

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_bars_are_shares_of_each_set_in_bins_of_all():
    scores = {"normal": [-1.0, -2.0, -2.5, -3.0], "far": [-9.0, -11.0]}
    display = ScoreDistributionDisplay.from_scores(scores, n_bins=5)
    edges = [1, 3, 5, 7, 9, 11]
    for name, shares in {
        "normal": [0.75, 0.25, 0, 0, 0],
        "far": [0, 0, 0, 0, 1.0],
    }.items():
        drawn = display.histograms_[name].get_data()
        np.testing.assert_allclose(drawn.edges, edges)
        np.testing.assert_allclose(drawn.values, shares)


def test_legend_tells_the_share_beyond_and_the_line_is_at_the_distance():
    scores = {"normal": -np.arange(1.0, 21.0), "far": np.full(3, -50.0)}
    display = ScoreDistributionDisplay.from_scores(scores, threshold=-19.0, log=False)
    # a score at the threshold is not below it
    assert display.shares_ == {"normal": 0.05, "far": 1.0}
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == ["normal: 5.0 % beyond", "far: 100 % beyond", "threshold 19"]
    assert list(display.threshold_.get_xdata()) == [19.0, 19.0]


def test_shares_agree_with_predict(digits):
    X = digits[0]
    pipe = make_pipeline(PCA(8, random_state=0), MahalanobisScorer(random_state=0))
    pipe.fit(X[:300])
    display = ScoreDistributionDisplay.from_estimator(
        pipe, X[300:], {"inverted": 16 - X[300:]}
    )
    assert display.threshold == pipe[-1].offset_
    assert display.shares_["normal"] == np.mean(pipe.predict(X[300:]) == -1)
    assert display.shares_["inverted"] == np.mean(pipe.predict(16 - X[300:]) == -1)
    np.testing.assert_array_equal(display.scores["normal"], pipe.score_samples(X[300:]))


def test_any_score_will_do(digits):
    X = digits[0][:, :6]
    forest = IsolationForest(n_estimators=5, random_state=0).fit(X)
    display = ScoreDistributionDisplay.from_estimator(forest, X)
    assert display.threshold == forest.offset_
    mixture = GaussianMixture(reg_covar=1.0, random_state=0).fit(X)
    display = ScoreDistributionDisplay.from_estimator(mixture, X)
    assert display.threshold_ is None
    assert display.shares_ == {}
    assert [text.get_text() for text in display.legend_.get_texts()] == ["normal"]


def test_distances_over_decades_are_logarithmic():
    scores = {"normal": [-1.0, -2.0], "far": [-1e4]}
    display = ScoreDistributionDisplay.from_scores(scores, n_bins=4)
    assert display.ax_.get_xscale() == "log"
    edges = display.histograms_["far"].get_data().edges
    np.testing.assert_allclose(edges, [1, 10, 100, 1000, 10_000])
    np.testing.assert_array_equal(display.histograms_["far"].get_data().values[-1], 1)
    assert display.plot(log=False).ax_.get_xscale() == "linear"
    display = ScoreDistributionDisplay.from_scores({"normal": [1.0, -100.0]})
    assert display.ax_.get_xscale() == "linear"
    with pytest.raises(ValueError, match="log must be False where a distance is not"):
        display.plot(log=True)


def test_infinite_distances_count_without_a_place():
    scores = {"far": [-np.inf, -1.0, -2.0, -3.0]}
    display = ScoreDistributionDisplay.from_scores(scores, threshold=-2.5, n_bins=2)
    assert display.shares_ == {"far": 0.5}
    np.testing.assert_allclose(
        display.histograms_["far"].get_data().values, [0.25, 0.5]
    )


def test_one_row_has_a_bar():
    display = ScoreDistributionDisplay.from_scores({"one": [-4.0]}, n_bins=1)
    drawn = display.histograms_["one"].get_data()
    assert drawn.values.tolist() == [1.0]
    assert drawn.edges[0] < 4.0 < drawn.edges[1]
    edges = bin_edges(np.zeros(3), 2, log=False)
    np.testing.assert_array_equal(edges, [-0.5, 0.0, 0.5])


def test_every_value_is_in_a_logarithmic_bin():
    values = np.random.default_rng(0).lognormal(3.0, 4.0, 500)
    counts = np.histogram(values, bin_edges(values, 37, log=True))[0]
    assert counts.sum() == 500


def test_shares_are_written_as_exactly_as_they_matter():
    texts = [share_text(share) for share in (0.0, 0.0123, 0.25, 1.0)]
    assert texts == ["0 %", "1.2 %", "25 %", "100 %"]


def test_style_and_axes_are_taken():
    ax = Figure().add_subplot()
    display = ScoreDistributionDisplay.from_scores(
        {"normal": [-1.0, -2.0]},
        threshold=-1.5,
        ax=ax,
        histogram_kwargs={"color": "red"},
        line_kwargs={"linestyle": ":"},
    )
    assert display.ax_ is ax
    assert not plt.get_fignums()
    assert display.histograms_["normal"].get_facecolor()[:3] == (1.0, 0.0, 0.0)
    assert display.threshold_.get_linestyle() == ":"


def test_bad_input(digits):
    draw = ScoreDistributionDisplay.from_scores
    for sets in ({}, {str(k): [-1.0] for k in range(11)}):
        with pytest.raises(ValueError, match="scores must hold between 1 and 10 sets"):
            draw(sets)
    with pytest.raises(ValueError, match=r"scores\['far'\] must hold no NaN, got 1"):
        draw({"normal": [-1.0], "far": [np.nan, 1.0]})
    with pytest.raises(ValueError, match=r"must have shape \(n,\) with n >= 1, got"):
        draw({"normal": []})
    with pytest.raises(ValueError, match="must hold one that is finite"):
        draw({"normal": [-np.inf]})
    with pytest.raises(ValueError, match="threshold must be a number"):
        draw({"normal": [-1.0]}, threshold=np.nan)
    with pytest.raises(TypeError, match="score_samples, or end in a step that has"):
        ScoreDistributionDisplay.from_estimator(
            GaussianMixtureOf().fit(digits[0]), digits[0]
        )


class GaussianMixtureOf(PCA):
    score_samples = None
