import matplotlib as mpl
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from manifoldgen import SearchCurveDisplay
from manifoldgen.plotting._search import best_of_others

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(30, 5))


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
    with pytest.raises(ValueError, match="scored: score; got 'energy'"):
        SearchCurveDisplay.from_estimator(search, metric="energy")


def test_one_of_several_metrics_is_drawn(X):
    search = GridSearchCV(
        PCA(),
        {"n_components": [1, 2]},
        cv=2,
        scoring={
            "width": lambda e, X: e.n_components,
            "minus": lambda e, X: -e.n_components,
        },
        refit="minus",
    ).fit(X)
    display = SearchCurveDisplay.from_estimator(search, metric="width")
    assert display.mean_scores.tolist() == [1, 2]
    assert display.chosen == 0
    assert display.ax_.get_ylabel() == "mean test width"
