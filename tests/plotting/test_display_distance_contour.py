import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from manifoldgen import DistanceContourDisplay, MahalanobisScorer
from manifoldgen.plotting._distance_contour import share_levels, step_levels

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def Z():
    rows = np.random.default_rng(0).normal(size=(400, 2))
    return rows @ np.array([[2.0, 0.5], [0.0, 1.0]]) + 5.0


@pytest.fixture(scope="module")
def scorer(Z):
    return MahalanobisScorer(random_state=0).fit(Z)


def line_of(contours, number):
    return contours.get_paths()[number].vertices


def test_shares_of_rows_are_at_and_above_their_level():
    scores = np.random.default_rng(0).normal(size=57)
    for share in (0.01, 0.5, 0.9, 0.999):
        (level,) = share_levels(scores, [share])
        assert np.mean(scores >= level) >= share
        assert np.mean(scores > level) < share


def test_lines_are_ellipses_of_equal_distance(scorer, Z):
    display = DistanceContourDisplay.from_estimator(
        scorer,
        Z,
        shares=[0.5, 0.9],
        text_kwargs={"inline": False},  # whole lines
    )
    distances = np.sort(scorer.mahalanobis(Z))
    np.testing.assert_allclose(display.levels, [-distances[199], -distances[359]])
    assert display.names == ["50 %", "90 %"]
    # rising levels: the farther line is the first
    for number, distance in enumerate([distances[359], distances[199]]):
        line = line_of(display.contours_, number)
        np.testing.assert_allclose(scorer.mahalanobis(line), distance, rtol=0.02)
        closed = np.abs(line[0] - line[-1]).max()
        assert closed < 1e-6


def test_the_threshold_is_a_line_where_predict_changes(scorer, Z):
    display = DistanceContourDisplay.from_estimator(scorer, Z)
    assert display.threshold == scorer.offset_
    line = line_of(display.threshold_, 0)
    center = scorer.location_
    np.testing.assert_array_equal(scorer.predict(center + 0.98 * (line - center)), 1)
    np.testing.assert_array_equal(scorer.predict(center + 1.02 * (line - center)), -1)
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == ["share of rows inside", "threshold"]


def test_pvalues_are_on_either_side_of_their_line(scorer, Z):
    display = DistanceContourDisplay.from_estimator(scorer, Z, pvalues=[0.3, 0.05])
    assert display.names == ["0.3", "0.05"]
    center = Z.mean(axis=0)
    for number, pvalue in enumerate([0.05, 0.3]):
        line = line_of(display.contours_, number)
        inside = scorer.pvalue(center + 0.97 * (line - center))
        outside = scorer.pvalue(center + 1.03 * (line - center))
        assert inside.min() > pvalue >= outside.max()
    assert display.threshold_ is None


def test_a_step_has_its_line_half_way_up():
    found = step_levels(np.array([[0.1, 0.2], [0.4, 0.2]]), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(found, [0.15, 0.3, 0.3])
    with pytest.raises(
        ValueError, match=r"from 0\.1 to 0\.4, to have a line, got 0.05"
    ):
        step_levels(np.array([0.1, 0.4]), [0.05])


def test_points_of_a_pipeline_are_those_that_its_scorer_sees(digits):
    X, y = digits
    pipe = make_pipeline(PCA(2, random_state=0), MahalanobisScorer(random_state=0))
    display = DistanceContourDisplay.from_estimator(pipe.fit(X), X, y, n_places=50)
    np.testing.assert_array_equal(display.points, pipe[:-1].transform(X))
    assert len(display.scatters_) == 10
    shown = np.concatenate([it.get_offsets() for it in display.scatters_])
    order = np.argsort(y, kind="stable")
    np.testing.assert_array_equal(shown, display.points[order])
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts[:2] == ["0", "1"]
    assert display.heights.shape == (50, 50)
    # everything that lines enclose is on the map
    assert display.contours_.get_paths()[0].vertices.min() > display.x.min()


def test_heights_are_scores_at_the_places_of_the_map(Z):
    mixture = GaussianMixture(2, random_state=0).fit(Z)
    display = DistanceContourDisplay.from_estimator(mixture, Z, n_places=20)
    for row, column in ((0, 0), (3, 17), (19, 4)):
        place = [[display.x[column], display.y[row]]]
        score = mixture.score_samples(place)[0]
        assert display.heights[row, column] == pytest.approx(score)
    assert display.threshold_ is None


def test_infinite_scores_are_far():
    heights = -np.add.outer(np.arange(-2.0, 3.0) ** 2, np.arange(-2.0, 3.0) ** 2)
    heights[0, 0] = -np.inf
    display = DistanceContourDisplay(
        x=np.arange(5.0), y=np.arange(5.0), heights=heights, levels=[-1.5], names=["a"]
    ).plot()
    assert np.isfinite(line_of(display.contours_, 0)).all()
    assert len(line_of(display.contours_, 0))


def test_style_and_axes_are_taken(scorer, Z):
    ax = Figure().add_subplot()
    display = DistanceContourDisplay.from_estimator(
        scorer,
        Z,
        ax=ax,
        n_places=20,
        legend=False,
        contour_kwargs={"linewidths": 3.0},
        scatter_kwargs={"color": "red"},
        text_kwargs={"fontsize": 20},
    )
    assert display.ax_ is ax
    assert not plt.get_fignums()
    assert display.legend_ is None
    assert set(display.contours_.get_linewidths()) == {3.0}
    assert display.scatters_[0].get_facecolor()[0, 0] == 1.0
    assert display.texts_[0].get_fontsize() == 20


def test_rows_in_one_place_and_one_row(scorer):
    mixture = GaussianMixture().fit(np.random.default_rng(0).normal(size=(50, 2)))
    for rows in (np.ones((1, 2)), np.ones((5, 2))):
        display = DistanceContourDisplay.from_estimator(mixture, rows, n_places=30)
        assert np.isfinite(display.heights).all()
        assert display.x[-1] > 1.0 > display.x[0]
        assert len(display.levels) == 3


def test_bad_input(scorer, Z, digits):
    draw = DistanceContourDisplay.from_estimator
    pipe = make_pipeline(PCA(3), MahalanobisScorer()).fit(digits[0])
    with pytest.raises(
        ValueError, match=r"two columns where the scorer is, .*\(500, 3"
    ):
        draw(pipe, digits[0])
    with pytest.raises(ValueError, match=r"shares\[1\] must be a number in \(0, 1\)"):
        draw(scorer, Z, shares=[0.5, 1.0])
    with pytest.raises(ValueError, match="shares must be a sequence of numbers"):
        draw(scorer, Z, shares=0.5)
    with pytest.raises(ValueError, match="pvalues must be among those of the map"):
        draw(scorer, Z, pvalues=[1e-4])
    with pytest.raises(ValueError, match="n_places must be an int >= 2, got 1"):
        draw(scorer, Z, n_places=1)
    with pytest.raises(ValueError, match="y must have one label for each of the 400"):
        draw(scorer, Z, y=[1])
    with pytest.raises(TypeError, match="pvalue, or end in a step that has"):
        draw(GaussianMixture().fit(Z), Z, pvalues=[0.1])
