"""one_standard_error on tables computed by hand, and inside a search."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from manifoldgen import one_standard_error


def table(values, splits, name="width", metric="score", **others):
    """Return `cv_results_` as scikit-learn makes it; a row of `splits` a candidate."""
    splits = np.asarray(splits, dtype=float)
    results = {f"param_{name}": np.ma.MaskedArray(values, dtype=object)}
    results |= {f"param_{key}": np.ma.MaskedArray(v) for key, v in others.items()}
    for index, column in enumerate(splits.T):
        results[f"split{index}_test_{metric}"] = column
    results[f"mean_test_{metric}"] = splits.mean(axis=1)
    results[f"std_test_{metric}"] = splits.std(axis=1)
    return results


# Means .2 .68 .7 .75 .74; the best has std .1 over 4 splits, so an error of .05.
SPLITS = [
    [0.2, 0.2, 0.2, 0.2],
    [0.6, 0.7, 0.7, 0.72],
    [0.7, 0.7, 0.7, 0.7],
    [0.65, 0.85, 0.65, 0.85],
    [0.74, 0.74, 0.74, 0.74],
]


def test_the_simplest_within_one_standard_error_is_chosen():
    results = table([2, 4, 8, 16, 32], SPLITS)
    # .75 - .05 = .70: 8 is just within, 4 with its .68 is not.
    assert one_standard_error("width")(results) == 2
    assert one_standard_error("width", smaller_is_simpler=False)(results) == 4


def test_the_order_of_candidates_does_not_matter():
    order = np.array([4, 2, 0, 3, 1])
    values, splits = np.array([2, 4, 8, 16, 32])[order], np.array(SPLITS)[order]
    assert order[one_standard_error("width")(table(values, splits))] == 2


def test_scores_below_zero_are_higher_towards_zero():
    results = table([1, 2, 3], [[-9.0, -9.0], [-1.1, -1.1], [-1.2, -0.8]])
    # The best is -1.0 with std .2 over 2 splits: -1.1 is within .141.
    assert one_standard_error("width")(results) == 1


def test_of_equal_values_the_better_score_wins_and_of_equal_scores_the_first():
    splits = [[0.70, 0.70], [0.74, 0.74], [0.74, 0.74], [0.65, 0.85]]
    results = table([2, 2, 2, 8], splits, alpha=[1, 2, 3, 1])
    # The best, .75, has an error of .1 / sqrt(2) = .071.
    assert one_standard_error("width")(results) == 1
    assert one_standard_error("alpha")(results) == 3


def test_one_split_has_no_error_to_forgive():
    assert one_standard_error("width")(table([1, 2], [[0.7], [0.71]])) == 1
    assert one_standard_error("width")(table([1, 2], [[0.71], [0.71]])) == 0


@pytest.mark.parametrize("failed", [np.nan, np.inf, -np.inf])
def test_failed_candidates_are_passed_over(failed):
    splits = [[failed, 0.7], [0.65, 0.75], [0.6, 0.8], [failed, failed]]
    with np.errstate(invalid="ignore"):
        results = table([1, 4, 8, 2], splits)
    assert one_standard_error("width")(results) == 1
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match="finite mean score, but all 2 failed"),
    ):
        one_standard_error("width")(table([1, 2], [[failed, 1], [failed, failed]]))


def test_candidates_without_the_parameter_have_no_cost():
    mask = [True, False, False]
    values = np.ma.MaskedArray([0, 4, 8], mask=mask, dtype=object)
    near = table(values, [[0.7, 0.8], [0.74, 0.74], [0.75, 0.75]])
    assert one_standard_error("width")(near) == 1
    far = table(values, [[0.9, 0.9], [0.7, 0.7], [0.8, 0.8]])
    assert one_standard_error("width")(far) == 0


@pytest.mark.parametrize("values", [np.array([8, 2]), np.array([0.5, 0.1]), [8, 2]])
def test_numbers_of_numpy_are_numbers(values):
    results = table([0, 0], [[0.7, 0.7], [0.7, 0.7]])
    assert one_standard_error("width")({**results, "param_width": values}) == 1


@pytest.mark.parametrize("value", ["full", None, True, (4, 4), np.True_])
def test_values_that_have_no_order_are_refused(value):
    results = table([0, 1], [[0.7, 0.7], [0.7, 0.7]])
    results["param_width"][1] = value
    with pytest.raises(TypeError, match="must have values that are numbers, but 'wid"):
        one_standard_error("width")(results)


def test_names_that_are_not_in_the_search_are_answered_with_those_that_are():
    results = table([1, 2], [[0.7, 0.7], [0.7, 0.7]], alpha=[1, 2])
    with pytest.raises(ValueError, match="searched: width, alpha; got 'height'"):
        one_standard_error("height")(results)
    with pytest.raises(ValueError, match=r"scored: score; got 'energy'. Name it"):
        one_standard_error("width", metric="energy")(results)
    several = {**results, **table([1, 2], [[1.0, 1.0], [2.0, 2.0]], metric="energy")}
    assert one_standard_error("width")(several) == 0
    assert one_standard_error("width", metric="energy")(several) == 1


def test_a_metric_whose_name_ends_another_is_not_counted_with_it():
    # Two splits: with the four columns of both metrics the error would be smaller.
    results = table([1, 2], [[0.64, 0.64], [0.6, 0.8]])
    other = table([1, 2], [[0.0, 0.0], [0.0, 0.0]], metric="my_score")
    assert one_standard_error("width")({**other, **results}) == 0


def test_it_serves_a_search_with_several_parameters():
    X, y = load_digits(return_X_y=True)
    rule = one_standard_error("logisticregression__C")
    assert pickle.loads(pickle.dumps(rule)) == rule
    search = GridSearchCV(
        make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=50, tol=0.1)),
        {
            "logisticregression__C": [0.001, 0.1, 10.0],
            "logisticregression__fit_intercept": [True, False],
        },
        refit=rule,
        cv=3,
    )
    search = clone(search).fit(X[:500], y[:500])
    results = search.cv_results_
    means, stds = results["mean_test_score"], results["std_test_score"]
    floor = means.max() - stds[means.argmax()] / np.sqrt(3)
    near = [
        (params["logisticregression__C"], -mean, index)
        for index, (params, mean) in enumerate(
            zip(results["params"], means, strict=True)
        )
        if mean >= floor
    ]
    assert search.best_index_ == min(near)[2]
    assert search.best_params_["logisticregression__C"] == min(near)[0]
