"""embedding_scorer against the metrics it wraps, and inside real searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, LocallyLinearEmbedding
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from manifoldgen import (
    continuity,
    embedding_scorer,
    neighbor_label_accuracy,
    neighbor_recall,
    one_standard_error,
    round_trip_error,
    shepard_correlation,
    triplet_accuracy,
    trustworthiness,
)

X_DIGITS, Y_DIGITS = (rows[:600] for rows in load_digits(return_X_y=True))
SHUFFLED = KFold(3, shuffle=True, random_state=0)
METRICS = [
    "trustworthiness",
    "continuity",
    "neighbor_recall",
    "shepard",
    "triplet",
    "label_accuracy",
    "round_trip",
]


def expected_scores(pca, X, y, n_neighbors, seed):
    Z = pca.transform(X)
    return {
        "trustworthiness": trustworthiness(X, Z, n_neighbors=n_neighbors),
        "continuity": continuity(X, Z, n_neighbors=n_neighbors),
        "neighbor_recall": neighbor_recall(X, Z, n_neighbors=n_neighbors),
        "shepard": shepard_correlation(X, Z, random_state=seed),
        "triplet": triplet_accuracy(X, Z, random_state=seed),
        "label_accuracy": neighbor_label_accuracy(Z, y, n_neighbors=n_neighbors),
        "round_trip": -round_trip_error(X, pca.inverse_transform(Z)),
    }


def test_the_score_is_the_metric_of_held_out_rows():
    # 500 rows: more pairs than are drawn, so the seed matters
    X, y, train = X_DIGITS[100:], Y_DIGITS[100:], X_DIGITS[:100]
    pca = PCA(3, random_state=0).fit(train)
    expected = expected_scores(pca, X, y, 7, 3)
    assert set(expected) == set(METRICS)
    for metric, value in expected.items():
        scorer = embedding_scorer(metric, n_neighbors=7, random_state=3)
        assert scorer(pca, X, y) == value
    assert expected["shepard"] != embedding_scorer("shepard")(pca, X)


@pytest.mark.parametrize("metric", METRICS)
def test_a_wider_map_wins(metric):
    scorer = embedding_scorer(metric)
    two, ten = (
        scorer(PCA(width).fit(X_DIGITS[:300]), X_DIGITS[300:], Y_DIGITS[300:])
        for width in (2, 10)
    )
    assert ten > two + 0.05


def test_pipelines_with_and_without_a_generator_and_frames():
    pca, mixture = (
        make_pipeline(MinMaxScaler(), PCA(3, random_state=0)),
        GaussianMixture(2),
    )
    whole = make_pipeline(MinMaxScaler(), PCA(3, random_state=0), mixture)
    frame = pd.DataFrame(X_DIGITS).add_prefix("pixel")
    for metric in METRICS:
        scorer = embedding_scorer(metric)
        score = scorer(pca.fit(X_DIGITS), X_DIGITS, Y_DIGITS)
        assert scorer(whole.fit(X_DIGITS), X_DIGITS, Y_DIGITS) == score
        framed = scorer(whole.fit(frame), frame, pd.Series(Y_DIGITS))
        assert framed == pytest.approx(score, rel=1e-9)


def test_a_search_with_every_scorer():
    search = GridSearchCV(
        make_pipeline(PCA(random_state=0), GaussianMixture(2, random_state=0)),
        {"pca__n_components": [1, 8, 16, 32]},
        scoring={metric: embedding_scorer(metric) for metric in METRICS},
        refit=one_standard_error("pca__n_components", metric="label_accuracy"),
        cv=SHUFFLED,
    ).fit(X_DIGITS, Y_DIGITS)
    results = search.cv_results_
    for metric in METRICS:
        means = results[f"mean_test_{metric}"]
        assert np.all(np.diff(means[:2]) > 0), metric
    means = results["mean_test_label_accuracy"]
    error = results["std_test_label_accuracy"][means.argmax()] / np.sqrt(3)
    assert search.best_index_ == np.flatnonzero(means >= means.max() - error)[0]
    assert 0 < search.best_index_ < 3


def test_it_survives_pickle_clone_and_routing():
    scorer = embedding_scorer("triplet", random_state=3, n_neighbors=4)
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    search = GridSearchCV(PCA(), {"n_components": [2, 4]}, scoring=scorer, cv=SHUFFLED)
    assert clone(search).scoring == scorer
    plain = clone(search).fit(X_DIGITS).cv_results_["mean_test_score"]
    with config_context(enable_metadata_routing=True):
        routed = clone(search).fit(X_DIGITS).cv_results_["mean_test_score"]
    assert_array_equal(plain, routed)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"metric": "fid"},
            ValueError,
            "metric must be one of 'trustworthiness', 'con",
        ),
        ({"random_state": None}, TypeError, "random_state must be an int between 0"),
        ({"random_state": -1}, ValueError, "random_state must be an int between 0"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be an int >= 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        embedding_scorer(**{"metric": "triplet", **arguments})


def test_what_cannot_be_scored_is_explained():
    pca = PCA(2).fit(X_DIGITS)
    with pytest.raises(ValueError, match="Give y to fit of the search"):
        embedding_scorer("label_accuracy")(pca, X_DIGITS)
    with pytest.raises(ValueError, match=r"between 1 and 14, got 15\. It must be less"):
        embedding_scorer("continuity")(pca, X_DIGITS[:30])
    with pytest.raises(TypeError, match=r"must have transform .* got TSNE"):
        embedding_scorer("continuity")(TSNE(), X_DIGITS)
    lle = LocallyLinearEmbedding().fit(X_DIGITS[:50])
    with pytest.raises(TypeError, match="has no inverse_transform"):
        embedding_scorer("round_trip")(lle, X_DIGITS[:50])
