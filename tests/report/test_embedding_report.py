import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, LocallyLinearEmbedding
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from manifoldgen import (
    continuity,
    coranking_curve,
    neighbor_label_accuracy,
    neighbor_recall,
    round_trip_error,
    trustworthiness,
)
from manifoldgen.report import embedding_report


@pytest.fixture
def rng():
    return np.random.default_rng(0)


NEIGHBORHOODS = ["trustworthiness", "continuity", "neighbor_recall", "coranking_auc"]
OF_THE_MAP = [*NEIGHBORHOODS, "shepard_correlation", "triplet_accuracy"]
ROUND_TRIPS = ["round_trip_error", "latent_round_trip_error"]


def test_embedding_report_holds_the_metrics_of_both_sides(rng):
    train, test = rng.normal(size=(2, 80, 5))
    y, y_test = rng.integers(3, size=(2, 80))
    pca = PCA(2).fit(train)
    report = embedding_report(pca, train, test, y, y_test=y_test, n_neighbors=7)
    assert list(report) == [*OF_THE_MAP, "label_accuracy", *ROUND_TRIPS]
    maps = {"train": pca.transform(train), "test": pca.transform(test)}
    for side, X in (("train", train), ("test", test)):
        Z = maps[side]
        for name, figure in zip(
            NEIGHBORHOODS[:3],
            (trustworthiness, continuity, neighbor_recall),
            strict=True,
        ):
            assert report[name][side] == figure(X, Z, n_neighbors=7)
        assert report["coranking_auc"][side] == coranking_curve(X, Z).auc
        back = pca.inverse_transform(Z)
        assert report["round_trip_error"][side] == round_trip_error(X, back)
        assert report["latent_round_trip_error"][side] < 1e-12
    assert report["label_accuracy"] == {
        "train": neighbor_label_accuracy(maps["train"], y, n_neighbors=7),
        "test": neighbor_label_accuracy(
            maps["train"], y, Z_test=maps["test"], y_test=y_test, n_neighbors=7
        ),
    }
    json.dumps(report, allow_nan=False)


def test_embedding_report_takes_as_many_rows_of_each_side(rng):
    X = rng.normal(size=(200, 4))
    seen = []

    class Recorded(PCA):
        def transform(self, X):
            seen.append(len(X))
            return super().transform(X)

    pca = Recorded(2).fit(X)
    embedding_report(pca, X[:150], X[150:])
    assert set(seen) == {50}
    first, again, other = (
        embedding_report(pca, X[:150], X[150:], max_samples=40, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert set(seen) == {50, 40}
    assert first == again
    assert first["trustworthiness"] != other["trustworthiness"]


def test_embedding_report_leaves_out_what_there_is_none_of(rng):
    X = rng.normal(size=(120, 4))
    lle = LocallyLinearEmbedding(n_neighbors=10).fit(X[:60])
    assert list(embedding_report(lle, X[:60], X[60:])) == OF_THE_MAP
    y = np.arange(60) % 2
    labelled = embedding_report(lle, X[:60], X[60:], y)["label_accuracy"]
    assert list(labelled) == ["train"]


def test_embedding_report_of_pipelines_frames_and_images(rng):
    X = rng.normal(size=(90, 4))
    y = pd.Series(np.array(["a", "b", "c"])[np.arange(90) % 3])
    pipe = make_pipeline(PCA(2), GaussianMixture(2, random_state=0))
    plain = embedding_report(pipe.fit(X[:45]), X[:45], X[45:], y[:45], y_test=y[45:])
    assert plain == embedding_report(pipe[:-1], X[:45], X[45:], y[:45], y_test=y[45:])
    flatten = FunctionTransformer(
        lambda X: X.reshape(len(X), -1), inverse_func=lambda X: X.reshape(-1, 2, 2)
    )
    images = X.reshape(90, 2, 2)
    model = make_pipeline(flatten, PCA(2)).fit(images[:45])
    assert plain == embedding_report(
        model, images[:45], images[45:], y[:45], y_test=y[45:]
    )
    frame = pd.DataFrame(X, columns=list("abcd"))
    pipe.fit(frame[:45])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # scikit-learn's, of lost names of columns
        framed = embedding_report(pipe, frame[:45], frame[45:], y[:45], y_test=y[45:])
    for name, sides in plain.items():
        if name != "latent_round_trip_error":  # of the size of rounding
            assert framed[name] == pytest.approx(sides)


def test_embedding_report_says_what_is_wrong(rng):
    X = rng.normal(size=(80, 4))
    pca = PCA(2).fit(X)
    with pytest.raises(TypeError, match=r"must have transform .* got TSNE"):
        embedding_report(TSNE(), X, X)
    with pytest.raises(ValueError, match="y_test needs y"):
        embedding_report(pca, X, X, y_test=np.zeros(80))
    with pytest.raises(ValueError, match="as many as their rows, got 79 for 80"):
        embedding_report(pca, X, X, np.zeros(79))
    with pytest.raises(ValueError, match=r"between 1 and 14, got 15\. It must be less"):
        embedding_report(pca, X, X[:30])
    with pytest.raises(ValueError, match="max_samples must be an int >= 1"):
        embedding_report(pca, X, X, max_samples=0)
