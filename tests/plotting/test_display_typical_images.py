import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from manifoldgen import MahalanobisScorer, TypicalImagesDisplay

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def pipe(digits):
    scorer = MahalanobisScorer(random_state=0)
    return make_pipeline(PCA(8, random_state=0), scorer).fit(digits[0][:300])


def texts_of(display):
    return [text.get_text() for text in display.texts_]


def test_scores_stand_where_no_rows_were_left_to_calibrate(digits):
    scorer = MahalanobisScorer(calibration_fraction=0.0).fit(digits[0][:300])
    display = TypicalImagesDisplay.from_estimator(
        scorer, digits[0][300:330], image_shape=(8, 8)
    )
    assert float(texts_of(display)[0]) < 0


def test_extremes_are_in_order_and_their_first_rows_win_ties():
    X = np.arange(6.0)[:, None].repeat(4, axis=1)
    scores = [-2.0, -9.0, -1.0, -9.0, -2.0, -5.0]
    display = TypicalImagesDisplay.from_scores(
        X, scores, n_images=3, image_shape=(2, 2)
    )
    assert display.typical_indices.tolist() == [2, 0, 4]
    assert display.atypical_indices.tolist() == [1, 3, 5]
    assert display.typical[:, 0, 0].tolist() == [2.0, 0.0, 4.0]
    assert display.atypical_scores.tolist() == [-9.0, -9.0, -5.0]
    assert texts_of(display)[:2] == ["-1.00", "-2.00"]


def test_tiles_and_figures_are_drawn_in_their_places(digits):
    X = digits[0][:20]
    scores = -np.arange(20.0)
    display = TypicalImagesDisplay.from_scores(
        X, scores, n_images=2, image_shape=(8, 8)
    )
    picture = display.image_.get_array()
    shown = X[[0, 1, 19, 18]].reshape(4, 8, 8) / X[[0, 1, 19, 18]].max()
    for k, (text, tile) in enumerate(zip(display.texts_, shown, strict=True)):
        top, left = (k // 2) * (8 + 4), (k % 2) * (8 + 1)
        np.testing.assert_allclose(picture[top : top + 8, left : left + 8], tile)
        center, middle = text.get_position()
        assert center == left + 4
        assert top + 8 < middle < top + 12
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["most typical", "least typical"]


def test_pvalues_of_a_scorer_stand_below(pipe, digits):
    X = digits[0][300:]
    display = TypicalImagesDisplay.from_estimator(
        pipe, X, n_images=4, image_shape=(8, 8)
    )
    scores = pipe.score_samples(X)
    order = np.argsort(scores)
    assert display.typical_indices.tolist() == order[::-1][:4].tolist()
    assert display.atypical_indices.tolist() == order[:4].tolist()
    pvalues = pipe[-1].pvalue(pipe[:-1].transform(X))
    np.testing.assert_array_equal(display.atypical_pvalues, pvalues[order[:4]])
    assert texts_of(display)[4].startswith("p = .0")
    display = TypicalImagesDisplay.from_estimator(pipe, X, n_images=1, pvalues=False)
    assert texts_of(display)[1] == f"{scores.min():#.3g}"


def test_rows_that_are_no_images_are_lines(pipe, digits):
    display = TypicalImagesDisplay.from_estimator(pipe, digits[0], n_images=3)
    assert display.image_ is None
    lines = np.array(display.lines_.get_segments())
    assert lines.shape == (6, 64, 2)
    shown = display.ax_.transData.transform(lines[5])[:, 1]
    np.testing.assert_allclose(np.corrcoef(shown, display.atypical[2])[0, 1], 1.0)


def test_a_set_smaller_than_asked_for_is_drawn_whole():
    X = np.arange(8.0).reshape(2, 2, 2)
    display = TypicalImagesDisplay.from_scores(X, [1.0, 2.0])
    assert display.typical_indices.tolist() == [1, 0]
    assert display.atypical_indices.tolist() == [0, 1]
    one = TypicalImagesDisplay.from_scores(X[:1], [-1.0], pvalues=[0.04])
    assert texts_of(one) == ["p = .04", "p = .04"]


def test_bytes_keep_their_range_and_style_is_taken():
    ax = Figure().add_subplot()
    X = np.full((3, 4, 5), 51, dtype=np.uint8)
    display = TypicalImagesDisplay.from_scores(
        X,
        [1.0, 2.0, -np.inf],
        n_images=1,
        ax=ax,
        im_kwargs={"cmap": "gray_r"},
        text_kwargs={"color": "red"},
    )
    assert display.ax_ is ax
    assert not plt.get_fignums()
    np.testing.assert_allclose(display.image_.get_array()[:4], 0.2)
    assert display.image_.get_cmap().name == "gray_r"
    assert texts_of(display) == ["2.00", "-inf"]
    assert display.texts_[0].get_color() == "red"


def test_bad_input(pipe, digits):
    X = digits[0][:5]
    draw = TypicalImagesDisplay.from_scores
    with pytest.raises(
        ValueError, match="scores must have one value for each of the 5"
    ):
        draw(X, [1.0])
    with pytest.raises(ValueError, match="pvalues must have one value for each"):
        draw(X, np.ones(5), pvalues=[0.1])
    with pytest.raises(ValueError, match="scores must hold no NaN"):
        draw(X, np.full(5, np.nan))
    with pytest.raises(ValueError, match="n_images must be an int >= 1, got 0"):
        draw(X, np.ones(5), n_images=0)
    with pytest.raises(ValueError, match="64 values in all"):
        draw(X, np.ones(5), image_shape=(8, 7))
    with pytest.raises(TypeError, match="must have pvalue, or end in a step"):
        TypicalImagesDisplay.from_estimator(PCA(2).fit(X), X, pvalues=True)
