"""Tests of samples by classifiers, training on generated rows, and their classes."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from manifoldgen.metrics import (
    classifier_two_sample_test,
    mode_coverage,
    train_on_synthetic,
)


class FirstColumn(ClassifierMixin, BaseEstimator):
    """Learns nothing, and answers with the first column."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return X[:, 0].astype(int)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    return X[order], y[order]


def test_the_p_value_counts_all_arrangements_of_the_labels():
    # of 4 real rows that are held out 1 is called generated, of 4 generated ones 3
    real, generated = np.zeros((8, 1)), np.ones((8, 1))
    for seed in range(5):
        rng = np.random.RandomState(seed)
        real[:, 0], generated[:, 0] = rng.rand(2, 8) < [[0.3], [0.7]]
        result = classifier_two_sample_test(
            real, generated, classifier=FirstColumn(), random_state=seed
        )
        rng = np.random.RandomState(seed)
        held = [rows[rng.permutation(8)[:4], 0] for rows in (real, generated)]
        said = np.concatenate(held)
        right = held[1].sum()
        reached = [said[list(at)].sum() >= right for at in combinations(range(8), 4)]
        assert result.n_test == 8
        assert result.accuracy == (4 - held[0].sum() + held[1].sum()) / 8
        assert result.p_value == pytest.approx(np.mean(reached), rel=1e-12)


def test_the_p_value_is_valid_where_the_samples_are_alike():
    rng = np.random.RandomState(1)
    p_values = [
        classifier_two_sample_test(
            rng.randn(30, 2), rng.randn(45, 2), classifier=GaussianNB(), random_state=i
        ).p_value
        for i in range(400)
    ]
    for level in (0.05, 0.2, 0.5):
        spread = np.sqrt(level * (1 - level) / len(p_values))
        assert np.mean(np.array(p_values) <= level) < level + 3 * spread
    assert np.mean(np.array(p_values) <= 0.2) > 0.05  # and it is not always large


def test_the_default_classifier_sees_more_than_means():
    rng = np.random.RandomState(2)
    real = rng.randn(400, 3)
    generated = rng.randn(500, 3) * [1.0, 1.0, 2.5]
    result = classifier_two_sample_test(real, generated)
    assert result.accuracy > 0.62
    assert result.p_value < 1e-4
    assert result.n_test == 400
    blind = classifier_two_sample_test(real, generated, classifier=LogisticRegression())
    assert blind.accuracy < 0.6


def test_one_seed_gives_one_test_and_seeds_the_classifier():
    rng = np.random.RandomState(3)
    X, Y = rng.randn(60, 3), 0.4 + rng.randn(50, 3)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    pipe = make_pipeline(StandardScaler(), RandomForestClassifier(5))
    one, same, other = (
        classifier_two_sample_test(X, Y, classifier=pipe, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert one == same != other
    assert pipe[-1].random_state is None
    assert not hasattr(pipe[-1], "estimators_")
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_bad_parts_are_refused():
    X = np.random.RandomState(4).randn(20, 3)
    with pytest.raises(ValueError, match=r"test_size must be a number in \(0, 1\)"):
        classifier_two_sample_test(X, X, test_size=1.0)
    with pytest.raises(ValueError, match="minimum of 4 is required"):
        classifier_two_sample_test(X, X[:3])
    result = classifier_two_sample_test(
        X, X[:4], classifier=GaussianNB(), test_size=0.99
    )
    assert result.n_test == 6  # a row of either sample is left to train on


def test_training_on_synthetic_is_what_its_parts_say(iris):
    X, y = iris
    rng = np.random.RandomState(5)
    noisy = X[:75] + 0.5 * rng.randn(75, 4)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    found = train_on_synthetic(
        noisy, y[:75], X[75:], y[75:], X_train=X[:75], y_train=y[:75], classifier=tree
    )
    accuracy, real = (
        tree.fit(rows, y[:75]).score(X[75:], y[75:]) for rows in (noisy, X[:75])
    )
    assert found == (accuracy, real, accuracy / real)
    assert real > accuracy > 1 / 3


def test_real_rows_are_worth_real_rows(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    found = train_on_synthetic(
        pd.DataFrame(X[:75]), names[:75], X[75:], names[75:], X_train=X[:75],
        y_train=pd.Series(names[:75]),
    )  # fmt: skip
    assert found.ratio == 1.0
    assert found.real_accuracy > 0.9
    forest = RandomForestClassifier(5)
    runs = [
        train_on_synthetic(
            X[:75], y[:75], X[75:], y[75:], X_train=X[:75], y_train=y[:75],
            classifier=forest, random_state=seed,
        )
        for seed in (0, 0, 1, 2, 3)
    ]  # fmt: skip
    # both are trained by one seed
    assert all(run.ratio == 1.0 for run in runs)
    assert runs[0] == runs[1]


def test_labels_that_cannot_be_trained_on_are_refused(iris):
    X, y = iris
    real = {"X_train": X, "y_train": y}
    with pytest.raises(ValueError, match="y_generated must have at least 2 classes"):
        train_on_synthetic(X[:5], [1] * 5, X, y, **real)
    with pytest.raises(ValueError, match=r"y_train must have at least 2 .* 0 alone"):
        train_on_synthetic(X, y, X, y, X_train=X[:5], y_train=[0] * 5)
    with pytest.raises(ValueError, match="y_generated must hold labels that y_train"):
        train_on_synthetic(X, y + 1, X, y, **real)
    with pytest.raises(ValueError, match=r"y_test must hold labels .* got '0'"):
        train_on_synthetic(X, y, X, y.astype(str), **real)
    with pytest.raises(ValueError, match="y_test must have one label for each of the"):
        train_on_synthetic(X, y, X, y[:-1], **real)
    wrong = np.where(y == 0, 1, 0)
    with pytest.raises(ValueError, match="got no row of X_test right"):
        train_on_synthetic(X, y, X[y < 1], wrong[y < 1], **real)


def test_mode_coverage_counts_classes():
    said = np.array(["a"] * 6 + ["b"] * 1 + ["c"] * 1)
    y_real = ["a", "b", "b", "c", "d", "a", "a", "a"]
    result = mode_coverage(np.zeros((8, 2)), lambda X: said, y_real=y_real)
    assert result.classes.tolist() == ["a", "b", "c", "d"]
    assert_allclose(result.shares, [6 / 8, 1 / 8, 1 / 8, 0])
    assert_allclose(result.real_shares, [4 / 8, 2 / 8, 1 / 8, 1 / 8])
    assert_allclose(result.ratios, [1.5, 0.5, 1.0, 0.0])
    assert result.n_covered == 3
    expected = 0.75 * np.log(1.5) + 0.125 * np.log(0.5)
    assert result.kl_divergence == pytest.approx(expected, rel=1e-12)
    strict = mode_coverage(np.zeros((8, 2)), lambda X: said, y_real=y_real, least=0.6)
    assert strict.n_covered == 2


def test_one_mode_of_ten_diverges_by_log_ten():
    X, y = load_digits(return_X_y=True)
    model = GaussianNB().fit(X, y)
    even = np.repeat(np.arange(10), 20)
    zeros = X[model.predict(X) == 0].reshape(-1, 8, 8)
    result = mode_coverage(zeros, model, y_real=even)
    assert result.n_covered == 1
    assert result.kl_divergence == pytest.approx(np.log(10), rel=1e-12)
    real = mode_coverage(X, model, y_real=y)
    assert real.n_covered == 10
    assert real.kl_divergence < 0.1


def test_the_classifier_gets_features():
    images = np.random.RandomState(6).rand(12, 4, 4)
    shapes = []

    def features(X):
        shapes.append(X.shape)
        return X.mean(axis=(1, 2))[:, np.newaxis]

    def classify(X):
        shapes.append(X.shape)
        return (X[:, 0] > 0.5).astype(int)

    mode_coverage(images, classify, y_real=[0, 1], features=features)
    assert shapes == [(12, 4, 4), (12, 1)]


def test_classifiers_that_do_not_fit_are_refused():
    X = np.zeros((4, 2))
    with pytest.raises(TypeError, match="classifier must be a fitted classifier or"):
        mode_coverage(X, "nearest", y_real=[0, 1])
    with pytest.raises(ValueError, match="must have one label for each of the 4 rows"):
        mode_coverage(X, lambda X: [0, 1], y_real=[0, 1])
    with pytest.raises(ValueError, match=r"return labels that y_real has.* got '0'"):
        mode_coverage(X, lambda X: list("0000"), y_real=[0, 1])
    with pytest.raises(ValueError, match=r"least must be a number in \(0, 1\]"):
        mode_coverage(X, lambda X: [0] * 4, y_real=[0, 1], least=0.0)
