"""generation_scorer against the metrics it wraps, and inside real searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler
from threadpoolctl import threadpool_limits

from manifoldgen import (
    energy_distance,
    generation_scorer,
    make_generative_pipeline,
    one_standard_error,
    precision_recall_density_coverage,
    sample_from,
)

X_DIGITS = load_digits(return_X_y=True)[0][:900]
X_IRIS, Y_IRIS = load_iris(return_X_y=True)
SHUFFLED = KFold(3, shuffle=True, random_state=0)
PRDC_METRICS = ["coverage", "density", "precision", "recall"]


@pytest.fixture(scope="module")
def digits_pipe():
    mixture = GaussianMixture(5, random_state=0)
    return make_generative_pipeline(MinMaxScaler(), PCA(8, random_state=0), mixture)


class Parrot(BaseEstimator):
    """Draws one row for ever."""

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def sample(self, n_samples):
        return np.tile(self.mean_, (n_samples, 1))


@pytest.mark.parametrize("metric", [*PRDC_METRICS, "energy"])
@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("standardize", [True, False])
def test_the_score_is_the_metric_in_held_out_units(metric, k, standardize):
    X = X_IRIS * [1.0, 10.0, 100.0, 1000.0]
    train, test = X[::2], X[1::2]
    pipe = make_pipeline(PCA(3), GaussianMixture(3, random_state=0)).fit(train)
    scale = test.std(axis=0) if standardize else 1.0
    drawn = sample_from(pipe, len(test), random_state=7) / scale
    if metric == "energy":
        expected = -energy_distance(test / scale, drawn)
    else:
        result = precision_recall_density_coverage(test / scale, drawn, n_neighbors=k)
        expected = getattr(result, metric)
    scorer = generation_scorer(
        metric, n_neighbors=k, standardize=standardize, random_state=7
    )
    assert scorer(pipe, test) == pytest.approx(expected, rel=1e-9)
    assert scorer(pipe, test, Y_IRIS[1::2]) == scorer(pipe, test)


@pytest.mark.parametrize("metric", ["coverage", "recall", "energy"])
def test_a_collapsed_generator_loses(metric):
    scorer = generation_scorer(metric)
    good = KernelDensity(bandwidth=0.2).fit(X_IRIS[::2])
    parrot = Parrot().fit(X_IRIS[::2])
    assert scorer(good, X_IRIS[1::2]) > scorer(parrot, X_IRIS[1::2]) + 0.3


def test_constant_columns_keep_their_units():
    X = np.column_stack([X_IRIS, np.full(150, 0.1)])
    pipe = make_generative_pipeline(PCA(2), KernelDensity(bandwidth=0.3)).fit(X)
    score = generation_scorer("coverage")(pipe, X)
    assert score > 0.5


def test_images_and_frames_are_scored_as_rows(digits_pipe):
    flatten = FunctionTransformer(
        lambda X: X.reshape(len(X), -1), inverse_func=lambda X: X.reshape(-1, 8, 8)
    )
    images = X_DIGITS.reshape(-1, 8, 8)
    frame = pd.DataFrame(X_DIGITS)
    scorer = generation_scorer("energy")
    expected = scorer(clone(digits_pipe).fit(X_DIGITS), X_DIGITS)
    on_images = make_pipeline(flatten, clone(digits_pipe)).fit(images)
    assert scorer(on_images, images) == pytest.approx(expected, rel=1e-9)
    on_frames = clone(digits_pipe).fit(frame)
    assert scorer(on_frames, frame) == pytest.approx(expected, rel=1e-9)


def test_global_random_state_is_left_alone(digits_pipe):
    pipe = clone(digits_pipe).fit(X_DIGITS)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    scores = [generation_scorer("coverage")(pipe, X_DIGITS) for _ in range(2)]
    assert scores[0] == scores[1]
    assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_it_survives_pickle_clone_and_routing(digits_pipe):
    scorer = generation_scorer("recall", random_state=3, n_neighbors=4)
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    search = GridSearchCV(digits_pipe, {"pca__n_components": [4]}, scoring=scorer, cv=3)
    assert clone(search).scoring == scorer
    plain = search.fit(X_DIGITS).cv_results_["mean_test_score"]
    with config_context(enable_metadata_routing=True):
        routed = clone(search).fit(X_DIGITS).cv_results_["mean_test_score"]
    assert_array_equal(plain, routed)


def test_a_search_chooses_a_width_and_workers_change_no_bit(digits_pipe):
    search = GridSearchCV(
        clone(digits_pipe),
        {"pca__n_components": [2, 8, 24]},
        scoring=generation_scorer("coverage"),
        refit=one_standard_error("pca__n_components"),
        cv=SHUFFLED,
    )
    with threadpool_limits(1):  # as many as a worker has
        searches = [
            clone(search).set_params(n_jobs=n_jobs).fit(X_DIGITS) for n_jobs in (1, 2)
        ]
    one, two = (search.cv_results_ for search in searches)
    for key in one:
        if "test_score" in key:
            assert_array_equal(one[key], two[key])
    assert one["mean_test_score"][0] < one["mean_test_score"][1]
    assert searches[0].best_index_ == searches[1].best_index_ == 1
    assert searches[0].best_estimator_.sample(3).shape == (3, 64)


def test_several_scorers_and_a_stock_pipeline():
    pipe = make_pipeline(PCA(), GaussianMixture(3, random_state=0))
    scoring = {name: generation_scorer(name) for name in ("coverage", "energy")}
    search = GridSearchCV(
        pipe,
        {"pca__n_components": [1, 3]},
        scoring=scoring,
        refit=one_standard_error("pca__n_components", metric="energy"),
        cv=SHUFFLED,
    ).fit(X_IRIS, Y_IRIS)
    assert (search.cv_results_["mean_test_energy"] < 0).all()
    assert (search.cv_results_["mean_test_coverage"] > 0).all()
    energy = search.cv_results_["mean_test_energy"]
    error = search.cv_results_["std_test_energy"][energy.argmax()] / np.sqrt(3)
    assert search.best_index_ == np.flatnonzero(energy >= energy.max() - error)[0]


def test_bare_generators_are_scored():
    scores = cross_val_score(
        GaussianMixture(3, random_state=0),
        X_IRIS,
        scoring=generation_scorer("density"),
        cv=SHUFFLED,
    )
    assert (scores > 0.5).all()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"metric": "fid"}, ValueError, "metric must be one of 'coverage', 'density'"),
        ({"random_state": None}, TypeError, "random_state must be an int between 0"),
        ({"random_state": -1}, ValueError, "random_state must be an int between 0"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be an int >= 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        generation_scorer(**{"metric": "coverage", **arguments})


def test_what_cannot_be_scored_is_explained(digits_pipe):
    scorer = generation_scorer("coverage", n_neighbors=10)
    with pytest.raises(AttributeError, match=r"'pca' \(PCA\), has none"):
        scorer(PCA(2).fit(X_IRIS), X_IRIS)
    pipe = clone(digits_pipe).fit(X_DIGITS)
    with pytest.raises(ValueError, match="n_neighbors must be an int between 1 and 7"):
        scorer(pipe, X_DIGITS[:8])
    with pytest.raises(ValueError, match=r"X has 64 features, but .* 4 features"):
        scorer(pipe, X_IRIS)
