"""Features chosen by classes that are held out: by hand, and what is looked at."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from manifoldgen import ClassifierFeatures, MahalanobisScorer, select_features

RNG = np.random.default_rng(0)
Y = np.repeat(["a", "b", "c"], 60)
# the first two columns tell the classes apart, the third is noise
X = RNG.standard_normal((180, 3))
X[:, :2] += 8.0 * np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 60, axis=0)


class Columns(TransformerMixin, BaseEstimator):
    """Takes columns, and remembers which labels and how many rows it was fitted on."""

    seen: list = []  # noqa: RUF012

    def __init__(self, columns=(0, 1, 2), random_state=None):
        self.columns = columns
        self.random_state = random_state

    def fit(self, X, y):
        self.n_ = len(X)
        type(self).seen.append((sorted(set(y)), len(X), self.random_state))
        return self

    def transform(self, X):
        return np.asarray(X)[:, list(self.columns)]


CANDIDATES = {"noise": Columns((2,)), "places": Columns((0, 1)), "all": Columns()}


def test_columns_that_tell_classes_apart_are_chosen():
    found = select_features(CANDIDATES, X, Y, random_state=0)
    assert found.best_name in ("places", "all")
    assert found.mean_auroc["places"] > 0.99
    assert 0.35 < found.mean_auroc["noise"] < 0.65
    assert found.auroc.shape == (3, 3)
    assert found.classes.tolist() == ["a", "b", "c"]
    assert found.refitted == (True, True, True)
    assert found.best_estimator.n_ == 180
    assert found.best_estimator is not CANDIDATES[found.best_name]
    assert "<- best" in str(found).splitlines()[1 + found.names.index(found.best_name)]


def test_figures_by_hand():
    folds = PredefinedSplit(np.arange(180) % 3)
    scorer = MahalanobisScorer(class_conditional=True, random_state=0)
    found = select_features({"all": PCA(2)}, X, Y, scorer=scorer, cv=folds)
    for place, held in enumerate("abc"):
        values = []
        for fold in range(3):
            test = np.arange(180) % 3 == fold
            kept = ~test & (held != Y)
            pca = PCA(2).fit(X[kept])
            judge = clone(scorer).fit(pca.transform(X[kept]), Y[kept])
            scores = judge.score_samples(pca.transform(X[test]))
            values.append(roc_auc_score(Y[test] != held, scores))
        np.testing.assert_allclose(found.auroc[0, place], np.mean(values), rtol=1e-12)


@pytest.mark.parametrize(("cv", "n_splits", "n_train"), [(None, 1, 135), (4, 4, 135)])
def test_no_row_of_the_class_that_is_held_out_is_fitted_on(cv, n_splits, n_train):
    Columns.seen.clear()
    select_features([("all", Columns())], X, Y, cv=cv, random_state=0)
    *judged, last = Columns.seen
    expected = [["b", "c"]] * n_splits + [["a", "c"]] * n_splits
    assert [labels for labels, *_ in judged] == expected + [["a", "b"]] * n_splits
    assert {n for _, n, _ in judged} == {n_train * 2 // 3}
    assert last[:2] == (["a", "b", "c"], 180)
    (seed,) = {state for *_, state in Columns.seen}
    assert isinstance(seed, int)


def test_what_came_fitted_is_taken_as_it_is():
    pca = PCA(2).fit(X)
    found = select_features({"fitted": pca, "new": PCA(2)}, X, Y, random_state=0)
    assert found.refitted == (False, True)
    only = select_features({"fitted": pca}, X, Y, random_state=0)
    assert only.best_estimator is pca
    np.testing.assert_array_equal(only.auroc[0], found.auroc[0])


def test_one_seed_gives_one_choice():
    forest = IsolationForest(n_estimators=20)
    ours, theirs = (
        select_features(CANDIDATES, X, Y, scorer=forest, random_state=3).auroc
        for _ in range(2)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_frames_lists_images_and_pipelines():
    whole = make_pipeline(StandardScaler(), PCA(2, random_state=0))
    rows = select_features({"p": whole}, X, Y, random_state=0).auroc
    frame = pd.DataFrame(X, index=np.arange(180)[::-1])
    for given in (frame, X.tolist()):
        found = select_features({"p": whole}, given, list(Y), random_state=0)
        np.testing.assert_allclose(found.auroc, rows)
    digits = load_digits()
    few = digits.target[:300] < 3
    images, y = digits.images[:300][few], digits.target[:300][few]
    network = ClassifierFeatures(4, channels=(4,), max_epochs=2, batch_size=16)
    found = select_features({"net": network}, images, y, random_state=0)
    assert found.best_estimator.classes_.tolist() == [0, 1, 2]


def test_a_pipeline_is_fitted_where_all_its_steps_are():
    chain = make_pipeline(PCA(2, random_state=0), Normalizer())
    found = select_features({"open": chain}, X, Y, random_state=0)
    assert found.refitted == (True,)
    found = select_features({"fitted": chain.fit(X)}, X, Y, random_state=0)
    assert found.refitted == (False,)


def test_two_classes_are_one_and_an_outlier():
    found = select_features({"all": PCA(2)}, X[:120], Y[:120], random_state=0)
    assert found.auroc.min() > 0.95


@pytest.mark.parametrize(
    ("candidates", "error", "match"),
    [
        ({}, ValueError, "Name one at least"),
        (3, TypeError, "candidates must be a dict.*got 3"),
        ([PCA()], TypeError, "candidates must be a dict"),
        ({"a": PCA}, TypeError, "names and transformers, got 'a': <class"),
        ({1: PCA()}, TypeError, "names and transformers, got 1"),
        ({"a": IsolationForest()}, TypeError, "got 'a': IsolationForest"),
        ([("a", PCA()), ("a", PCA())], ValueError, "got one twice"),
    ],
)
def test_candidates_that_are_none(candidates, error, match):
    with pytest.raises(error, match=match):
        select_features(candidates, X, Y)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"y": np.zeros(180)}, ValueError, "2 classes at least.*got 1 classes"),
        ({"y": np.arange(180)}, ValueError, "the smallest of 1 rows"),
        ({"y": Y[:9]}, ValueError, "inconsistent"),
        ({"cv": 1}, ValueError, "cv must be an int >= 2, got 1. Or pass None"),
        ({"random_state": "x"}, ValueError, "random_state must be"),
    ],
)
def test_bad_arguments_of_a_choice(arguments, error, match):
    with pytest.raises(error, match=match):
        select_features(CANDIDATES, **{"X": X, "y": Y, **arguments})


def test_what_a_candidate_raises_says_which_class_was_held_out():
    network = ClassifierFeatures(4, max_epochs=1)
    with pytest.raises(ValueError, match="2 classes at least") as raised:
        select_features({"net": network}, X[:120], Y[:120])
    assert "fitted without class 'a'" in raised.value.__notes__[0]
