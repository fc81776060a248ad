import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from manifoldgen import SearchCurveDisplay, TrainingHistoryDisplay
from manifoldgen.plotting._curves import best_of_others, curves_by_panel, spans_decades
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


RESULTS = {
    "params": [
        {"width": 4, "rate": 0.1},
        {"width": 2, "rate": 0.1},
        {"width": 4, "rate": 0.2},
        {"width": 2, "rate": 0.2},
    ],
    "mean_test_score": np.array([1.0, 3.0, 2.0, np.nan]),
}


def test_each_value_is_shown_with_the_best_of_the_others():
    assert best_of_others(RESULTS, "width", chosen=1) == ([2, 4], [1, 2])
    assert best_of_others(RESULTS, "width", chosen=0) == ([2, 4], [1, 0])
    assert best_of_others(RESULTS, "rate", chosen=0) == ([0.1, 0.2], [0, 2])


@pytest.fixture
def search(X):
    grid = {"n_components": [4, 1, 2]}
    return GridSearchCV(PCA(), grid, cv=3, refit=lambda results: 2).fit(X)


def test_search_curve_is_mean_and_standard_error_over_splits(search):
    display = SearchCurveDisplay.from_estimator(search)
    assert display.values == [1, 2, 4]
    scores = np.array(
        [search.cv_results_[f"split{k}_test_score"][[1, 2, 0]] for k in range(3)]
    )
    np.testing.assert_allclose(display.mean_scores, scores.mean(axis=0))
    np.testing.assert_allclose(display.standard_errors, scores.std(axis=0) / 3**0.5)
    line = display.errorbar_.lines[0]
    np.testing.assert_allclose(line.get_ydata(), scores.mean(axis=0))


def test_search_curve_marks_the_choice_and_the_band(search):
    display = SearchCurveDisplay.from_estimator(search, parameter="n_components")
    best = int(display.mean_scores.argmax())
    assert display.chosen_.get_xdata().tolist() == [2.0]
    low, high = (
        display.band_.get_y(),
        display.band_.get_y() + display.band_.get_height(),
    )
    assert high == pytest.approx(display.mean_scores[best])
    assert low == pytest.approx(high - display.standard_errors[best])


def test_values_that_are_no_numbers_stand_in_the_order_of_the_search(X):
    search = GridSearchCV(PCA(2), {"svd_solver": ["full", "auto"]}, cv=2).fit(X)
    display = SearchCurveDisplay.from_estimator(search)
    names = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert names == ["full", "auto"]
    assert display.ax_.get_xscale() == "linear"


def test_powers_stand_on_a_logarithmic_axis(search):
    display = SearchCurveDisplay(
        values=[1, 2, 8], mean_scores=np.ones(3), standard_errors=np.zeros(3)
    ).plot()
    assert display.ax_.get_xscale() == "log"
    assert display.chosen_ is None


def test_search_without_the_parameter_is_refused(search, X):
    with pytest.raises(ValueError, match="must be one of 'n_components', got 'rate'"):
        SearchCurveDisplay.from_estimator(search, parameter="rate")
    with pytest.raises(NotFittedError):
        SearchCurveDisplay.from_estimator(GridSearchCV(PCA(), {"whiten": [True]}))
    two = GridSearchCV(
        PCA(), {"n_components": [1]}, cv=2, scoring={"a": lambda e, X: 1.0}, refit="a"
    ).fit(X)
    with pytest.raises(ValueError, match="one metric"):
        SearchCurveDisplay.from_estimator(two)
