import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manifoldgen import ContributionDisplay, MahalanobisScorer
from manifoldgen.plotting._contribution import largest_parts

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def scorer(digits):
    return MahalanobisScorer(random_state=0, ridge=0.01).fit(digits[0])


def test_names_may_be_an_array():
    names = np.array(["a", "b", "c"])
    display = ContributionDisplay.from_contributions([1.0, 3.0, 2.0], names=names)
    assert labels_of(display) == ["b", "c", "a"]


def labels_of(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def widths_of(display):
    return [bar.get_width() for bar in display.bars_]


def test_bars_are_the_largest_parts_and_what_is_left_of_the_sum():
    display = ContributionDisplay.from_contributions(
        [0.5, 4.0, 1.0, 0.25, 2.0], names=list("abcde"), n_shown=2
    )
    assert labels_of(display) == ["b", "e", "3 others"]
    assert widths_of(display) == [4.0, 2.0, 1.75]
    heights = [bar.get_y() for bar in display.bars_]
    assert heights == sorted(heights, reverse=True)  # the largest on top
    assert display.ax_.get_title() == "squared distance 7.75"
    assert [text.get_text() for text in display.texts_] == ["4.00", "2.00", "1.75"]


def test_thousands_are_written_out_and_millions_are_not():
    contributions = np.array([[2370.4, 0.5], [3e6, 0.0]])
    bars = ContributionDisplay.from_contributions(contributions[0])
    assert [text.get_text() for text in bars.texts_] == ["2370", "0.500"]
    maps = ContributionDisplay.from_contributions(
        contributions, X=np.zeros((2, 2)), image_shape=(1, 2)
    )
    assert [text.get_text() for text in maps.texts_] == ["2371", "3.00e+06"]


def test_a_rest_of_one_is_that_one():
    largest, rest, n_rest = largest_parts(np.array([1.0, -3.0, 2.0]), 2)
    assert (largest.tolist(), rest, n_rest) == ([1, 2, 0], 0.0, 0)
    display = ContributionDisplay.from_contributions([3.0])
    assert labels_of(display) == ["feature 0"]


def test_bars_of_a_scorer_add_up_to_its_squared_distance(scorer, digits):
    X = digits[0]
    display = ContributionDisplay.from_estimator(scorer, X[3:4])
    assert len(display.bars_) == 11
    distance = scorer.mahalanobis(X[3:4])[0]
    assert sum(widths_of(display)) == pytest.approx(distance)
    found = scorer.contributions(X[3:4])[0]
    first = labels_of(display)[0]
    assert first == f"feature {found.argmax()}"
    directions = ContributionDisplay.from_estimator(scorer, X[3:4], by="direction")
    assert labels_of(directions)[0].startswith("direction ")
    assert sum(widths_of(directions)) == pytest.approx(distance)


def test_parts_are_called_what_the_scorer_takes():
    X = load_iris(as_frame=True).data
    plain = MahalanobisScorer(random_state=0).fit(X)
    names = set(X.columns)
    assert set(labels_of(ContributionDisplay.from_estimator(plain, X[:1]))) == names
    pipe = make_pipeline(StandardScaler(), MahalanobisScorer(random_state=0)).fit(X)
    assert set(labels_of(ContributionDisplay.from_estimator(pipe, X[:1]))) == names
    pipe = make_pipeline(PCA(2), MahalanobisScorer(random_state=0)).fit(X)
    labels = labels_of(ContributionDisplay.from_estimator(pipe, X[:1]))
    assert sorted(labels) == ["pca0", "pca1"]


def test_heat_maps_are_contributions_below_their_images(scorer, digits):
    X = digits[0][:3]
    display = ContributionDisplay.from_estimator(scorer, X, image_shape=(8, 8))
    contributions = scorer.contributions(X).reshape(3, 8, 8)
    picture, heat = display.image_.get_array(), display.heat_.get_array()
    for k in range(3):
        left = 9 * k
        np.testing.assert_allclose(
            picture[:, left : left + 8], X[k].reshape(8, 8) / X.max()
        )
        np.testing.assert_allclose(
            heat[:, left : left + 8], contributions[k], rtol=1e-9, atol=1e-9
        )
    assert heat.mask[:, 8].all()  # nothing between two
    assert display.heat_.get_extent() == [0, 26, 17, 9]
    assert display.heat_.norm.vmax == contributions.max()
    for text, distance in zip(display.texts_, scorer.mahalanobis(X), strict=True):
        assert float(text.get_text()) == pytest.approx(distance, rel=5e-3)
    assert display.bars_ is None


def test_images_of_pixels_are_known_without_a_layout(scorer, digits):
    images = digits[0][:2].reshape(2, 8, 8)
    flat = MahalanobisScorer(random_state=0).fit(digits[0].reshape(-1, 8, 8))
    display = ContributionDisplay.from_estimator(flat, images)
    assert display.heat_ is not None
    # columns that others made of pixels are none, though there may be as many
    pipe = make_pipeline(PCA(), flat).fit(digits[0])
    shown = ContributionDisplay.from_estimator(pipe, digits[0][:1])
    assert shown.heat_ is None
    # directions are no pixels, though there are as many
    display = ContributionDisplay.from_estimator(flat, images[:1], by="direction")
    assert display.heat_ is None


def test_channels_of_a_pixel_are_added_up_and_signs_have_two_colours():
    contributions = np.zeros((1, 12))
    contributions[0, [0, 4, 11]] = 1.0, 2.0, -4.0
    X = np.random.default_rng(0).uniform(size=(1, 3, 2, 2))
    display = ContributionDisplay.from_contributions(contributions, X=X)
    np.testing.assert_array_equal(display.heat_.get_array(), [[3.0, 0.0], [0.0, -4.0]])
    assert (display.heat_.norm.vmin, display.heat_.norm.vmax) == (-4.0, 4.0)
    display = display.plot(heat_kwargs={"vmin": -1.0, "vmax": 1.0, "cmap": "gray"})
    assert (display.heat_.norm.vmin, display.heat_.norm.vmax) == (-1.0, 1.0)


def test_a_row_at_the_mean_has_an_empty_map():
    display = ContributionDisplay.from_contributions(
        np.zeros((1, 4)), X=np.ones((1, 2, 2))
    )
    np.testing.assert_array_equal(display.heat_.get_array(), np.zeros((2, 2)))
    assert display.texts_[0].get_text() == "0"


def test_style_and_axes_are_taken():
    ax = Figure().add_subplot()
    display = ContributionDisplay.from_contributions(
        [1.0, 2.0], ax=ax, bar_kwargs={"color": "red"}, names=["a" * 40, "b"]
    )
    assert display.ax_ is ax
    assert not plt.get_fignums()
    assert display.bars_[0].get_facecolor() == (1.0, 0.0, 0.0, 1.0)
    assert labels_of(display)[1] == "a" * 29 + "…"


def test_bad_input(scorer, digits):
    X = digits[0][:2]
    draw = ContributionDisplay.from_contributions
    with pytest.raises(ValueError, match="those of one row to be drawn as bars, got 2"):
        ContributionDisplay.from_estimator(scorer, X)
    with pytest.raises(ValueError, match="by must be one of 'feature', 'direction'"):
        ContributionDisplay.from_estimator(scorer, X, by="pixel")
    with pytest.raises(TypeError, match="must have contributions, or end in a step"):
        ContributionDisplay.from_estimator(PCA(2).fit(X), X)
    with pytest.raises(ValueError, match="contributions must be finite, got 1"):
        draw([1.0, np.inf])
    with pytest.raises(ValueError, match="and hold some, got"):
        draw([])
    with pytest.raises(ValueError, match="names must name all 2 parts, got 1"):
        draw([1.0, 2.0], names=["a"])
    with pytest.raises(ValueError, match=r"one value for each pixel .* \(2, 64\), got"):
        draw(np.ones((2, 5)), X=X, image_shape=(8, 8))
    with pytest.raises(ValueError, match="image_shape must be None where X is"):
        draw(np.ones(64), image_shape=(8, 8))
