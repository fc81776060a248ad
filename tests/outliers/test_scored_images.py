"""Images scored through pipelines: features or a manifold, then a scorer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from manifoldgen import (
    AutoencoderManifold,
    ClassifierFeatures,
    MahalanobisScorer,
    ScoreOutlierDetector,
    call_last,
    load,
    save,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS, Y = load_digits(return_X_y=True)
DIGITS = (DIGITS / 16).astype(np.float32)
X, NEW, Y, Y_NEW = DIGITS[:500], DIGITS[500:900], Y[:500], Y[500:900]
ODD = np.random.default_rng(0).permuted(NEW, axis=1)  # pixels shuffled

PIPELINES = {
    "classifier": make_pipeline(
        ClassifierFeatures(max_epochs=4, image_shape=(1, 8, 8), random_state=0),
        MahalanobisScorer(class_conditional=True, random_state=0),
    ),
    "autoencoder": make_pipeline(
        AutoencoderManifold(6, hidden_sizes=(32,), max_epochs=10, random_state=0),
        MahalanobisScorer(random_state=0),
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_images_are_scored_searched_and_explained(name, tmp_path):
    pipe = PIPELINES[name]
    search = GridSearchCV(
        pipe,
        {"mahalanobisscorer__covariance": ["oas", "ppca"]},
        cv=StratifiedKFold(2),
        error_score="raise",
    ).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    pipe = search.best_estimator_
    scores = np.r_[pipe.score_samples(NEW), pipe.score_samples(ODD)]
    assert roc_auc_score(np.repeat([1, 0], len(NEW)), scores) > 0.6
    assert_array_equal(
        pipe.predict(NEW), np.where(pipe.decision_function(NEW) < 0, -1, 1)
    )
    assert_array_equal(pipe.fit_predict(X, Y), pipe.predict(X))
    pvalues = call_last(pipe, "pvalue", NEW)
    assert ((pvalues > 0) & (pvalues <= 1)).all()
    for by in ("feature", "direction"):
        parts = call_last(pipe, "contributions", NEW, by=by)
        assert_allclose(parts.sum(axis=1), call_last(pipe, "mahalanobis", NEW))
    assert call_last(pipe, "drift", ODD).pvalue <= call_last(pipe, "drift", NEW).pvalue
    assert call_last(pipe, "pairwise", NEW[:3]).shape == (3, 3)
    save(pipe, tmp_path / "pipe")
    again = load(tmp_path / "pipe")
    assert_array_equal(call_last(again, "pvalue", NEW), pvalues)


def test_the_nearest_class_is_the_digit():
    pipe = PIPELINES["classifier"].fit(X, Y)
    assert np.mean(call_last(pipe, "nearest_class", NEW) == Y_NEW) > 0.7


def test_groups_are_the_layers_of_a_network():
    features = ClassifierFeatures(
        layers=("conv1", "hidden1"), max_epochs=2, image_shape=(1, 8, 8), random_state=0
    ).fit(X, Y)
    rows, new = features.transform(X), features.transform(NEW)
    scorer = MahalanobisScorer(
        groups=features.group_lengths_, class_conditional=True, random_state=0
    ).fit(rows, Y)
    assert call_last(scorer, "contributions", new, by="group").shape == (400, 2)
    assert roc_auc_score(
        np.repeat([1, 0], 400), scorer.score_samples(np.vstack([new, 5 * new]))
    ) == pytest.approx(1.0, abs=0.05)


def test_a_detector_holds_rows_out_of_the_whole_pipeline():
    detector = ScoreOutlierDetector(
        PIPELINES["classifier"], false_alarm_rate=0.1, random_state=0
    ).fit(X, Y)
    assert detector.score_method_ == "score_samples"
    # of 400 new and 100 calibration rows: standard deviation .034
    assert np.mean(detector.predict(NEW) == -1) < 0.1 + 4 * 0.034
