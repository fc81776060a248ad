import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from manifoldgen import TrainingHistoryDisplay
from manifoldgen.plotting._history import curves_by_panel, spans_decades
from manifoldgen.training.history import History

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


class Trained(TransformerMixin, BaseEstimator):
    """Has a history as our estimators have."""

    def fit(self, X, y=None):
        self.history_ = History(
            [
                {"epoch": 1, "loss": 4.0, "seconds": 1.0},
                {"epoch": 2, "loss": 3.0, "validation_loss": 3.5, "seconds": 2.0},
                {"epoch": 3, "loss": 2.0, "validation_loss": 3.75, "seconds": 3.0},
            ]
        )
        self.best_epoch_ = 2
        return self

    def transform(self, X):
        return X


class Other(Trained):
    pass


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(30, 5))


def test_panels_pair_a_figure_with_its_validation():
    panels = curves_by_panel(["validation_loss", "penalty", "loss"])
    assert panels == [["loss", "validation_loss"], ["penalty"]]
    panels = curves_by_panel(["loss", "critic_loss", "validation_loss"])
    assert panels == [["loss", "critic_loss"], ["validation_loss"]]


def test_an_error_is_a_band_around_its_figure():
    history = {"loss": [3.0, 2.0], "loss_error": [0.5, 0.25]}
    display = TrainingHistoryDisplay(history=history).plot()
    assert list(display.lines_) == ["loss"]
    (band,) = display.axes_[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (1.75, 3.5)


def test_history_is_drawn_where_it_was_recorded(X):
    display = TrainingHistoryDisplay.from_estimator(Trained().fit(X))
    assert sorted(display.lines_) == ["loss", "validation_loss"]
    assert display.name == "Trained"
    assert len(display.axes_) == 1
    np.testing.assert_array_equal(display.lines_["loss"].get_ydata(), [4, 3, 2])
    np.testing.assert_array_equal(display.lines_["validation_loss"].get_xdata(), [2, 3])
    names = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert names == ["loss", "validation loss", "best epoch: 2"]


def test_curves_are_chosen_by_name(X):
    trained = Trained().fit(X)
    display = TrainingHistoryDisplay.from_estimator(trained, curves=["seconds"])
    assert list(display.lines_) == ["seconds"]
    with pytest.raises(ValueError, match=r"at least one of \['loss', 'validation"):
        TrainingHistoryDisplay.from_estimator(trained, curves=["accuracy"])


def test_one_axes_takes_all_curves():
    ax = Figure().add_subplot()
    history = {"loss": [1.0, 0.5], "penalty": [2.0, 1.0]}
    display = TrainingHistoryDisplay(history=history).plot(ax)
    assert display.axes_.tolist() == [ax]
    assert len(ax.lines) == 2
    assert TrainingHistoryDisplay(history=history).plot().axes_.shape == (2,)


def test_step_of_a_pipeline_is_named_where_several_were_trained(X):
    pipe = make_pipeline(PCA(2), Trained(), Other()).fit(X)
    display = TrainingHistoryDisplay.from_estimator(pipe, step="other")
    assert display.name == "other"
    for step in (None, "pca"):
        with pytest.raises(ValueError, match="step must be one of 'trained', 'other'"):
            TrainingHistoryDisplay.from_estimator(pipe, step=step)
    one = make_pipeline(PCA(2), Trained()).fit(X)
    assert TrainingHistoryDisplay.from_estimator(one).name == "trained"


def test_nothing_trained_is_an_error(X):
    with pytest.raises(TypeError, match="none of 'pca'"):
        TrainingHistoryDisplay.from_estimator(make_pipeline(PCA()).fit(X))
    with pytest.raises(TypeError, match="history_, which PCA"):
        TrainingHistoryDisplay.from_estimator(PCA().fit(X))
    with pytest.raises(ValueError, match="no Pipeline"):
        TrainingHistoryDisplay.from_estimator(Trained().fit(X), step="trained")


def test_wide_ranges_are_logarithmic():
    assert spans_decades(np.array([0.1, np.nan, 4.0]))
    assert not spans_decades(np.array([0.1, 2.0]))
    assert not spans_decades(np.array([-1.0, 100.0]))
    display = TrainingHistoryDisplay(history={"loss": [100.0, 1.0]}).plot()
    assert display.axes_[0].get_yscale() == "log"
    assert display.plot(log=False).axes_[0].get_yscale() == "linear"
