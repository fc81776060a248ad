"""ScoreOutlierDetector: any score as a detector."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

import manifoldgen
from manifoldgen import (
    AutoencoderManifold,
    LatentMixture,
    MahalanobisScorer,
    ManifoldScorer,
    ScoreOutlierDetector,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
AXES = RNG.normal(size=(2, 6))
X, NEW = (RNG.normal(size=(300, 2)) @ AXES + 0.1 * RNG.normal(size=(300, 6)),) * 2
NEW = RNG.normal(size=(200, 2)) @ AXES + 0.1 * RNG.normal(size=(200, 6))
FAR = NEW + 5.0 * RNG.normal(size=NEW.shape)
Y = (X[:, 0] > 0).astype(int)


def norm_below(estimator, rows):
    """Return minus the length of the standardised row."""
    return -np.linalg.norm(estimator.transform(rows), axis=1)


MANIFOLD = AutoencoderManifold(2, hidden_sizes=(8,), max_epochs=4)
SCORES = {
    "default": (None, "auto", "score_samples"),
    "mixture": (GaussianMixture(2), "auto", "score_samples"),
    "kernel": (KernelDensity(bandwidth=0.5), "auto", "score_samples"),
    "our generator": (LatentMixture(2), "auto", "score_samples"),
    "our scorer": (MahalanobisScorer(), "auto", "score_samples"),
    "forest": (
        IsolationForest(n_estimators=10),
        "decision_function",
        "decision_function",
    ),
    "neighbours": (LocalOutlierFactor(novelty=True), "auto", "score_samples"),
    "manifold": (MANIFOLD, "auto", "reconstruction_error"),
    "residual": (PCA(2), "reconstruction_error", "reconstruction_error"),
    "scaled residual": (
        make_pipeline(StandardScaler(), PCA(2)),
        "reconstruction_error",
        "reconstruction_error",
    ),
    "function": (StandardScaler(), norm_below, "callable"),
}


@pytest.mark.parametrize("name", SCORES)
def test_any_score_makes_a_detector(name):
    estimator, score_method, used = SCORES[name]
    detector = ScoreOutlierDetector(
        estimator, score_method=score_method, false_alarm_rate=0.1, random_state=0
    ).fit(X)
    assert detector.score_method_ == used
    scores = detector.score_samples(NEW)
    assert scores.dtype == np.float64
    assert scores.mean() > detector.score_samples(FAR).mean()
    assert_array_equal(detector.decision_function(NEW), scores - detector.offset_)
    labels = detector.predict(np.vstack([NEW, FAR]))
    assert_array_equal(labels == -1, detector.pvalue(np.vstack([NEW, FAR])) <= 0.1)
    # of 200 new and 60 calibration rows: standard deviation .044
    assert np.mean(labels[:200] == -1) < 0.1 + 4 * 0.044
    assert np.mean(labels[200:] == -1) > 0.5
    again = clone(detector).fit(X)
    assert_array_equal(again.score_samples(NEW), scores)
    assert detector.score(NEW) == pytest.approx(scores.mean())


def test_scores_are_the_estimators_own():
    detector = ScoreOutlierDetector(PCA(2), random_state=0).fit(X)
    assert_array_equal(
        detector.score_samples(NEW), detector.estimator_.score_samples(NEW)
    )
    assert len(detector._calibration()) == 60
    residual = ScoreOutlierDetector(
        PCA(2), score_method="reconstruction_error", random_state=0
    ).fit(X)
    pca = residual.estimator_
    expected = np.square(NEW - pca.inverse_transform(pca.transform(NEW))).mean(axis=1)
    assert_allclose(-residual.score_samples(NEW), expected, rtol=1e-12)
    manifold = ScoreOutlierDetector(MANIFOLD, random_state=0).fit(X)
    assert_array_equal(
        -manifold.score_samples(NEW), manifold.estimator_.reconstruction_error(NEW)
    )


@pytest.mark.parametrize(
    ("classifier", "method"),
    [(LogisticRegression(), "predict_proba"), (LinearSVC(), "decision_function")],
)
def test_a_classifier_scores_by_how_sure_it_is(classifier, method):
    y = Y + (X[:, 1] > 1)
    detector = ScoreOutlierDetector(classifier, random_state=0).fit(X, y)
    assert detector.score_method_ == method
    expected = getattr(detector.estimator_, method)(NEW).max(axis=1)
    assert_array_equal(detector.score_samples(NEW), expected)
    assert get_tags(detector).target_tags.required
    assert not get_tags(ScoreOutlierDetector()).target_tags.required
    assert_array_equal(detector.fit_predict(X, y), detector.predict(X))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        detector.fit(X, y[:-1])


class Remembers(BaseEstimator):
    """Gives training rows the best score there is."""

    def fit(self, X, y=None):
        self.rows_ = {row.tobytes() for row in X}
        return self

    def score_samples(self, X):
        known = np.array([row.tobytes() in self.rows_ for row in X])
        return np.where(known, 100.0, -np.abs(X[:, 0]))


def test_the_estimator_does_not_see_the_rows_that_calibrate():
    rng, pvalues = np.random.default_rng(0), []
    detector = ScoreOutlierDetector(Remembers())
    for seed in range(100):
        rows = rng.normal(size=(51, 2))
        detector.set_params(random_state=seed).fit(rows[:50])
        pvalues.append(detector.pvalue(rows[50:])[0])
    assert len(detector.estimator_.rows_) == 40
    spread = np.array(pvalues) - rng.random(100) / 11
    assert kstest(spread, "uniform").pvalue > 0.01
    # the threshold of a share of training rows is blind to this
    assert (detector.set_params(calibration_fraction=0.0).fit(rows).predict(rows)).all()
    with pytest.raises(ValueError, match="at least one calibration row"):
        detector.pvalue(rows)


def test_a_fitted_estimator_goes_in_frozen():
    fitted = GaussianMixture(2, random_state=0).fit(X)
    detector = ScoreOutlierDetector(
        FrozenEstimator(fitted), calibration_fraction=0.99, random_state=0
    ).fit(NEW)
    assert_array_equal(detector.score_samples(X), fitted.score_samples(X))
    assert len(detector._calibration()) == 198


def test_seeds_and_a_pipeline_as_a_whole():
    chain = make_pipeline(StandardScaler(), MANIFOLD, MahalanobisScorer())
    one, other = (
        ScoreOutlierDetector(chain, random_state=0).fit(X).score_samples(NEW)
        for _ in range(2)
    )
    assert_array_equal(one, other)
    assert chain[1].random_state is None
    images = ScoreOutlierDetector(random_state=0).fit(X.reshape(-1, 2, 3))
    rows = ScoreOutlierDetector(random_state=0).fit(X)
    assert_array_equal(images.predict(NEW.reshape(-1, 2, 3)), rows.predict(NEW))


class Scores(BaseEstimator):
    def __init__(self, how="nan"):
        self.how = how

    def fit(self, X, y=None):
        return self

    def score_samples(self, X):
        far = X[:, 0] > 100
        if self.how == "wide":
            return X
        return np.where(far | (self.how == "all nan"), np.nan, X[:, 0])


def test_a_score_that_is_no_number():
    detector = ScoreOutlierDetector(Scores()).fit(X)
    rows = NEW[:3].copy()
    rows[1, 0] = 1e6
    assert np.isfinite(detector.decision_function(rows)).all()
    assert detector.predict(rows)[1] == -1
    with pytest.raises(ValueError, match="NaN from score_samples for 300 of 300"):
        ScoreOutlierDetector(Scores("all nan")).fit(X)
    tophat = KernelDensity(kernel="tophat", bandwidth=0.01)  # -inf for other rows
    detector = ScoreOutlierDetector(tophat, contamination=0.3, random_state=0).fit(X)
    assert np.isfinite(detector.decision_function(NEW)).all()


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"estimator": PCA}, TypeError, "an instance with fit, got <class"),
        ({"estimator": "pca"}, TypeError, "an instance with fit, got 'pca'"),
        ({"estimator": Scores("wide")}, ValueError, r"one number for each row.*300, 6"),
        ({"score_method": 3}, TypeError, "name of a method or a function"),
        ({"score_method": "nothing"}, TypeError, "'nothing', which .* lacks"),
        ({"estimator": StandardScaler(), "score_method": "x"}, TypeError, "lacks"),
        (
            {"estimator": LocalOutlierFactor()},
            TypeError,
            "score_method='auto' needs an estimator with score_samples",
        ),
        ({"false_alarm_rate": 0.01}, ValueError, "needs 99 calibration rows"),
        (
            {"false_alarm_rate": 0.1, "contamination": 0.1},
            ValueError,
            "contamination must be None",
        ),
        ({"calibration_fraction": 1.0}, ValueError, "calibration_fraction must be"),
    ],
)
def test_what_does_not_serve_is_named_and_leaves_a_fit_as_it_was(
    parameters, error, match
):
    detector = ScoreOutlierDetector(PCA(2), random_state=0).fit(X)
    before = detector.score_samples(NEW)
    detector.set_params(**parameters)
    with pytest.raises(error, match=match):
        detector.fit(X)
    assert_array_equal(detector.score_samples(NEW), before)


def test_files_hold_detectors(tmp_path):
    for estimator in (None, GaussianMixture(2), ManifoldScorer(PCA(2))):
        detector = ScoreOutlierDetector(estimator, random_state=0).fit(X)
        manifoldgen.save(detector, tmp_path / "detector")
        again = manifoldgen.load(tmp_path / "detector")
        assert_array_equal(again.predict(NEW), detector.predict(NEW))
        assert_array_equal(again.pvalue(NEW), detector.pvalue(NEW))
