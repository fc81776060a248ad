import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, LocallyLinearEmbedding
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from manifoldgen import (
    continuity,
    coranking_curve,
    energy_distance,
    neighbor_label_accuracy,
    neighbor_recall,
    precision_recall_density_coverage,
    round_trip_error,
    trustworthiness,
)
from manifoldgen.metrics import near_copy_share
from manifoldgen.report import (
    corrupted_rows,
    detection_report,
    embedding_report,
    generation_report,
    search_report,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_generation_report_holds_the_metrics_by_name(rng):
    train, real, drawn = rng.normal(size=(3, 60, 2))
    report = generation_report({"model": drawn, "copies": train}, real, train)
    shares = precision_recall_density_coverage(real, drawn)
    assert report["model"] == {
        **shares._asdict(),
        "energy_distance": energy_distance(real, drawn),
        "near_copies": near_copy_share(train, drawn),
    }
    assert report["copies"]["near_copies"] == 1.0
    json.dumps(report, allow_nan=False)


def test_corrupted_images_keep_their_range_and_pixels(rng):
    X = rng.integers(0, 17, size=(40, 30)).astype(np.float32)
    corrupted = corrupted_rows(X, image=True, random_state=0)
    assert list(corrupted) == ["noise", "shuffled", "inverted"]
    np.testing.assert_array_equal(corrupted["inverted"], 16 - X)
    np.testing.assert_array_equal(np.sort(corrupted["shuffled"]), np.sort(X))
    assert np.all((corrupted["shuffled"] != X).any(axis=1))
    assert (corrupted["noise"].min(), corrupted["noise"].max()) == (0.0, 16.0)
    inner = (X > 4) & (X < 12)
    spread = (corrupted["noise"] - X)[inner].std()
    # 0.25 of a range of 16, over some 500 values and hardly clipped.
    assert spread == pytest.approx(4.0, rel=0.15)


def test_corrupted_columns_keep_what_they_hold(rng):
    X = rng.normal(size=(2000, 3)) * [1.0, 10.0, 0.0]
    corrupted = corrupted_rows(X, noise=0.5, random_state=0)
    shuffled = corrupted["shuffled"]
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(X, axis=0))
    low, high = X.min(axis=0), X.max(axis=0)
    np.testing.assert_allclose(corrupted["inverted"].min(axis=0), low, atol=1e-12)
    np.testing.assert_allclose(corrupted["inverted"].max(axis=0), high, atol=1e-12)
    spread = (corrupted["noise"] - X).std(axis=0)
    np.testing.assert_allclose(spread, [0.5, 5.0, 0.0], rtol=0.06)


def test_corruption_is_decided_by_the_seed(rng):
    X = rng.normal(size=(5, 4))
    first, again, other = (corrupted_rows(X, random_state=k) for k in (1, 1, 2))
    np.testing.assert_array_equal(first["noise"], again["noise"])
    np.testing.assert_array_equal(first["shuffled"], again["shuffled"])
    assert not np.array_equal(first["noise"], other["noise"])


class _FirstColumn:
    def score_samples(self, X):
        return X[:, 0]


def test_detection_report_is_the_share_of_ordered_pairs():
    normal = np.array([[3.0], [2.0], [1.0]])
    abnormal = {"mixed": np.array([[2.5], [1.0]]), "low": np.array([[0.0]])}
    report = detection_report({"column": _FirstColumn()}, normal, abnormal)
    # Pairs (normal, abnormal): of 3 x 2, two are in order and one is a tie.
    pairs = [[1.0 * (n > a) + 0.5 * (n == a) for a in (2.5, 1)] for n in (3, 2, 1)]
    assert report == {"column": {"mixed": pytest.approx(np.mean(pairs)), "low": 1.0}}


def test_search_report_reads_the_table_of_the_search(rng):
    X = rng.normal(size=(60, 3))
    search = GridSearchCV(PCA(), {"n_components": [3, 1]}, cv=3).fit(X)
    rows = search_report(search, "n_components")
    assert [row["value"] for row in rows] == [1, 3]
    for row, index in zip(rows, (1, 0), strict=True):
        scores = [search.cv_results_[f"split{k}_test_score"][index] for k in range(3)]
        assert row["score"] == pytest.approx(np.mean(scores))
        assert row["score_error"] == pytest.approx(np.std(scores) / 3**0.5)
        assert row["chosen"] == (index == search.best_index_)
    json.dumps(rows, allow_nan=False)


def test_search_report_holds_every_metric(rng):
    search = GridSearchCV(
        GaussianMixture(),
        {"n_components": [1, 2]},
        cv=2,
        scoring={"n": lambda e, X: e.n_components, "zero": lambda e, X: 0.0},
        refit="n",
    ).fit(rng.normal(size=(40, 2)))
    rows = search_report(search, "n_components")
    assert [(row["n"], row["zero"], row["chosen"]) for row in rows] == [
        (1.0, 0.0, False),
        (2.0, 0.0, True),
    ]
    with pytest.raises(ValueError, match="one that was searched, got 'k'"):
        search_report(search, "k")


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
