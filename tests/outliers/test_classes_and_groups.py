"""MahalanobisScorer of several covariances, classes, directions and groups."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.metrics import roc_auc_score
from sklearn.utils import get_tags

from manifoldgen import MahalanobisScorer
from manifoldgen.outliers._groups import fisher, tail_of
from manifoldgen.outliers._law import unit_rows
from manifoldgen.outliers._mahalanobis import COVARIANCES

EXACT = {"covariance": "empirical", "ridge": 0.0}


def three_classes(n=300, d=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    mixing = np.eye(d) + 0.3 * np.random.default_rng(99).normal(size=(d, d))
    return rng.normal(size=(n, d)) @ mixing + 6.0 * np.eye(3, d)[y], y


X, Y = three_classes()
NAMES = np.array(["cat", "dog", "eel"])[Y]
NEW = three_classes(seed=1)[0]


def brute(row, mean, covariance):
    gap = row - mean
    return gap @ np.linalg.solve(covariance, gap)


# ------------------------------------------------------------------------ covariances


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_every_covariance_measures_by_what_it_reports(covariance):
    scorer = MahalanobisScorer(covariance=covariance, random_state=0).fit(X)
    expected = [brute(x, scorer.location_, scorer.covariance_) for x in NEW[:20]]
    assert_allclose(scorer.mahalanobis(NEW[:20]), expected, rtol=1e-8)
    assert_array_equal(scorer.score_samples(NEW), -scorer.mahalanobis(NEW))
    assert scorer.rank_ == 4
    assert scorer.condition_number_ >= 1
    density = multivariate_normal(scorer.location_, scorer.covariance_)
    assert scorer.score(NEW) == pytest.approx(density.logpdf(NEW).mean(), rel=1e-8)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_row_off_a_singular_subspace_is_beyond_every_real_one(covariance):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    rows = rng.normal(size=(300, 3)) @ axes[:3]
    off = rows[:50] + 1000 * axes[-1]
    scorer = MahalanobisScorer(covariance=covariance, random_state=0).fit(rows)
    assert scorer.mahalanobis(off).min() > scorer.mahalanobis(rows).max()
    # one unit for all columns leaves every rank as it was
    other = MahalanobisScorer(covariance=covariance, random_state=0).fit(1e3 * rows)
    near = rows[:50] + 1e-3 * rng.normal(size=(50, 6))
    both, truth = np.vstack([rows[50:100], near]), np.repeat([1, 0], 50)
    ours, theirs = scorer.score_samples(both), other.score_samples(1e3 * both)
    assert roc_auc_score(truth, ours) == roc_auc_score(truth, theirs)


@pytest.mark.parametrize("covariance", ["ppca", "low_rank", "robust"])
def test_as_many_directions_as_are_asked_for(covariance):
    scorer = MahalanobisScorer(covariance=covariance, n_components=2, random_state=0)
    values = np.linalg.eigvalsh(scorer.fit(X).covariance_)[::-1]
    assert values[1] > 1.01 * values[2] == pytest.approx(1.01 * values[3])
    with pytest.raises(ValueError, match="n_components must be an int between 1 and 4"):
        scorer.set_params(n_components=5).fit(X)
    # the others have no use for it
    scorer.set_params(covariance="oas").fit(X)


def test_ledoit_wolf_is_scikit_learns():
    scorer = MahalanobisScorer(covariance="ledoit_wolf", ridge=0.0, random_state=0)
    peer = LedoitWolf().fit(X)
    assert_allclose(scorer.fit(X).covariance_, peer.covariance_, rtol=1e-8, atol=1e-10)
    assert scorer.shrinkage_ == pytest.approx(peer.shrinkage_, rel=1e-8)


def test_the_robust_covariance_bears_many_outliers():
    rows = NEW.copy()
    rows[:90] = 40 + np.random.default_rng(0).normal(size=(90, 4))
    plain = MahalanobisScorer(random_state=0).fit(rows)
    robust = MahalanobisScorer(covariance="robust", n_components=4, random_state=0)
    robust.fit(rows)
    assert plain.mahalanobis(rows[:90]).max() < 20
    assert robust.mahalanobis(rows[:90]).min() > 10 * robust.mahalanobis(NEW).max()
    with pytest.raises(ValueError, match="needs all rows at once"):
        robust.partial_fit(NEW)
    assert robust.n_samples_seen_ == 300


def test_robust_pvalues_leave_calibration_rows_out_of_the_search():
    robust = MahalanobisScorer(covariance="robust", n_components=2, random_state=0)
    robust.fit(X)
    calibrating = np.isin(X[:, 0], robust._reservoir[2][:60, 0])
    again = MahalanobisScorer(
        covariance="robust", n_components=2, calibration_fraction=0.0, random_state=0
    ).fit(X[~calibrating])
    assert_array_equal(
        robust._calibration(), again.mahalanobis(robust._reservoir[2][:60])
    )


# ---------------------------------------------------------------------------- classes


@pytest.mark.parametrize("y", [Y, NAMES, Y.astype(float)], ids=["int", "str", "float"])
def test_tied_distances_are_those_of_discriminant_analysis(y):
    scorer = MahalanobisScorer(class_conditional=True, **EXACT, random_state=0)
    scorer.fit(X, y)
    peer = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(X, y)
    assert_array_equal(scorer.classes_, peer.classes_)
    assert_allclose(scorer.means_, peer.means_, rtol=1e-12, atol=1e-12)
    assert_allclose(scorer.covariance_, peer.covariance_, rtol=1e-9, atol=1e-12)
    found = [[brute(x, m, peer.covariance_) for m in peer.means_] for x in NEW[:30]]
    assert_allclose(scorer.mahalanobis(NEW[:30]), np.min(found, axis=1), rtol=1e-8)
    assert_array_equal(scorer.nearest_class(NEW), peer.predict(NEW))


def test_full_distances_are_those_of_quadratic_discriminant_analysis():
    scorer = MahalanobisScorer(
        class_conditional=True, class_covariance="full", **EXACT, random_state=0
    ).fit(X, NAMES)
    means = [X[name == NAMES].mean(axis=0) for name in scorer.classes_]
    spreads = [np.cov(X[name == NAMES].T, bias=True) for name in scorer.classes_]
    assert_allclose(scorer.covariance_, spreads, rtol=1e-9, atol=1e-12)
    found = [
        [brute(x, *law) for law in zip(means, spreads, strict=True)] for x in NEW[:30]
    ]
    assert_allclose(scorer.mahalanobis(NEW[:30]), np.min(found, axis=1), rtol=1e-8)
    assert_array_equal(
        scorer.nearest_class(NEW[:30]), scorer.classes_[np.argmin(found, axis=1)]
    )
    assert scorer.rank_.tolist() == [4, 4, 4]


def test_score_is_the_log_density_of_the_mixture():
    peer = QuadraticDiscriminantAnalysis().fit(X, Y)  # equal classes, unbiased
    scorer = MahalanobisScorer(
        class_conditional=True, class_covariance="full", **EXACT, random_state=0
    ).fit(X, Y)
    laws = zip(scorer.means_, scorer.covariance_, strict=True)
    densities = np.mean([multivariate_normal(*law).pdf(NEW) for law in laws], axis=0)
    assert scorer.score(NEW) == pytest.approx(np.log(densities).mean(), rel=1e-9)
    assert_array_equal(scorer.nearest_class(NEW), peer.predict(NEW))


@pytest.mark.parametrize("class_covariance", ["tied", "full"])
def test_relative_takes_off_the_distance_from_all_rows(class_covariance):
    classes = {"class_conditional": True, "class_covariance": class_covariance}
    plain = MahalanobisScorer(**classes, random_state=0).fit(X, Y)
    relative = MahalanobisScorer(**classes, relative=True, random_state=0).fit(X, Y)
    background = MahalanobisScorer(random_state=0).fit(X)
    expected = plain.score_samples(NEW) - background.score_samples(NEW)
    assert_allclose(relative.score_samples(NEW), expected, rtol=1e-10)
    assert_array_equal(relative.mahalanobis(NEW), plain.mahalanobis(NEW))
    between = X[Y == 0].mean(axis=0) / 2 + X[Y == 1].mean(axis=0) / 2
    assert relative.predict(between[None]) == [-1]
    assert relative.score_samples(between[None]) < relative.score_samples(NEW).mean()


def test_labels_count_only_where_they_are_asked_for():
    plain = MahalanobisScorer(random_state=0).fit(X)
    again = MahalanobisScorer(random_state=0).fit(X, ["no", "use"])
    assert_array_equal(plain.score_samples(NEW), again.score_samples(NEW))
    with pytest.raises(
        ValueError, match=r"fitted without\. Set class_conditional=True"
    ):
        plain.nearest_class(NEW)
    classes = MahalanobisScorer(class_conditional=True, random_state=0)
    with pytest.raises(ValueError, match="class_conditional=True needs labels"):
        classes.fit(X)
    with pytest.raises(ValueError, match="label for each row, got 1 missing"):
        classes.fit(X[:2], [1.0, np.nan])
    assert get_tags(classes).target_tags.required
    assert not get_tags(plain).target_tags.required
    labels = classes.fit_predict(X, Y)
    assert_array_equal(labels, classes.fit(X, Y).predict(X))
    assert not hasattr(classes.set_params(class_conditional=False).fit(X), "classes_")


@pytest.mark.parametrize(
    ("parameters", "rows", "match"),
    [
        ({"class_covariance": "full"}, 5, "2 rows of each class.*got one of y='eel'"),
        ({}, 3, "more rows than classes, got one row of each of 3"),
        ({"covariance": "robust"}, 9, "needs class_covariance='full'"),
        (
            {"covariance": "robust", "class_covariance": "full"},
            9,
            "rows of class 'cat' do not do: .*at least 5 rows",
        ),
    ],
)
def test_too_few_rows_of_a_class(parameters, rows, match):
    scorer = MahalanobisScorer(class_conditional=True, **parameters)
    with pytest.raises(ValueError, match=match):
        scorer.fit(X[:rows], NAMES[:rows])
    assert vars(scorer).keys() == scorer.get_params().keys()


def test_one_row_of_a_class_is_enough_under_a_tied_covariance():
    rows, y = np.vstack([X, np.full((1, 4), 50.0)]), np.append(NAMES, "far")
    scorer = MahalanobisScorer(class_conditional=True, random_state=0).fit(rows, y)
    assert scorer.nearest_class(np.full((1, 4), 49.0)) == ["far"]
    assert np.isfinite(scorer.pvalue(NEW)).all()


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("relative", True, "relative=True needs class_conditional=True"),
        ("relative", "yes", "relative must be True or False"),
        ("class_conditional", 1, "class_conditional must be True or False"),
        (
            "class_covariance",
            "shared",
            "class_covariance must be one of 'tied', 'full'",
        ),
        ("normalize", "l1", "normalize must be one of 'l2'"),
        ("groups", (2, 3), "groups must add up to the 4 columns of X"),
        ("groups", (4, 0), "groups must be a tuple of ints >= 1"),
        ("groups", 4, "groups must be a tuple of ints >= 1"),
    ],
)
def test_parameters_that_do_not_go(name, value, match):
    with pytest.raises((TypeError, ValueError), match=match):
        MahalanobisScorer(**{name: value}).fit(X)


# ---------------------------------------------------------------------------- streams


@pytest.mark.parametrize(
    "parameters",
    [
        {"covariance": "ledoit_wolf"},
        {"class_conditional": True, "relative": True},
        {"class_conditional": True, "class_covariance": "full", "covariance": "ppca"},
        {"groups": (1, 3), "normalize": "l2", "false_alarm_rate": 0.1},
    ],
    ids=["ledoit-wolf", "tied", "full", "groups"],
)
def test_a_stream_of_classes_learns_what_one_fit_does(parameters):
    order = np.argsort(Y, kind="stable")  # so that classes come one after the other
    rows, labels = X[order], NAMES[order]
    whole = MahalanobisScorer(**parameters, random_state=7).fit(rows, labels)
    stream = MahalanobisScorer(**parameters, random_state=7)
    for part in np.split(np.arange(300), [120, 121, 180]):
        stream.partial_fit(rows[part], labels[part])
    assert stream.n_samples_seen_ == 300
    assert_allclose(stream.score_samples(NEW), whole.score_samples(NEW), rtol=1e-9)
    assert stream.offset_ == pytest.approx(whole.offset_, rel=1e-9)
    assert_array_equal(stream.pvalue(NEW), whole.pvalue(NEW))


def test_a_stream_keeps_to_its_kind():
    scorer = MahalanobisScorer(class_conditional=True, random_state=0)
    scorer.partial_fit(X[:100], NAMES[:100])
    with pytest.raises(ValueError, match="labels of one kind in every batch"):
        scorer.partial_fit(X[100:], Y[100:])
    with pytest.raises(ValueError, match="class_conditional must stay"):
        scorer.set_params(class_conditional=False).partial_fit(X[100:])
    assert scorer.n_samples_seen_ == 100


# ------------------------------------------------------------------ lengths and groups


def test_unit_rows_by_hand():
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [-1e-200, 0.0], [1e300, 1e300]])
    expected = [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0], [0.5**0.5, 0.5**0.5]]
    assert_allclose(unit_rows(rows), expected, rtol=1e-15)
    assert unit_rows(np.float32(rows[:2])).dtype == np.float64


def test_normalized_rows_are_measured_by_their_direction():
    lengths = np.random.default_rng(0).uniform(0.1, 10, size=(300, 1))
    scorer = MahalanobisScorer(normalize="l2", random_state=0).fit(lengths * X)
    plain = MahalanobisScorer(random_state=0).fit(unit_rows(X))
    assert_allclose(
        scorer.score_samples(NEW), plain.score_samples(unit_rows(NEW)), rtol=1e-8
    )
    rows = np.vstack([5 * NEW[:1], NEW[:1], np.zeros((1, 4))])
    scores = scorer.score_samples(rows)
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)
    assert np.isfinite(scores).all()


def test_groups_are_measured_apart():
    scorer = MahalanobisScorer(groups=[1, 3], random_state=0).fit(X)
    parts = [
        MahalanobisScorer(random_state=0).fit(columns).mahalanobis(new)
        for columns, new in [(X[:, :1], NEW[:, :1]), (X[:, 1:], NEW[:, 1:])]
    ]
    assert_allclose(scorer.contributions(NEW, by="group"), np.transpose(parts))
    assert_allclose(scorer.mahalanobis(NEW), np.sum(parts, axis=0))
    assert (scorer.covariance_[0, 1:] == 0).all()
    assert scorer.rank_.tolist() == [1, 3]
    # farther in either group is farther, and 1,000 units off beyond every real row
    for column in (0, 3):
        steps = NEW[:1] + np.array([0, 5, 10, 1000.0])[:, None] * np.eye(4)[column]
        assert (np.diff(scorer.score_samples(steps)) < 0).all()
        assert scorer.score_samples(steps)[-1] < scorer.score_samples(X).min()
    with pytest.raises(ValueError, match="20 calibration rows at least, got 10"):
        scorer.fit(X[:50])


def test_one_group_ranks_as_no_groups_do():
    whole = MahalanobisScorer(random_state=0).fit(X).score_samples(NEW)
    group = MahalanobisScorer(groups=(4,), random_state=0).fit(X).score_samples(NEW)
    assert_array_equal(np.argsort(whole), np.argsort(group))


def test_fisher_by_hand():
    tails = [tail_of(np.arange(1.0, 10.0)), tail_of(np.array([2.0, 2.0, 4.0, 4.0]))]
    distances = np.array([[5.0, 2.0], [9.0, 4.0], [1.5, 3.0]])
    # shares of 9 and of 4 that are as large, over 10 and over 5, and between them
    shares = np.array([[0.5, 0.8], [0.1, 0.4], [0.85, 0.6]])
    assert_allclose(fisher(distances, tails), -2 * np.log(shares).sum(axis=1))
    many = np.linspace(-5, 500, 2000)
    assert (np.diff(tails[0].surprise(many)) > 0).all()
    assert np.isfinite(tail_of(np.zeros(5)).surprise(np.array([0.0, 1.0]))).all()


# ---------------------------------------------------------- contributions and pairwise

KINDS = {
    "plain": {},
    "low rank": {"covariance": "low_rank", "n_components": 2},
    "tied": {"class_conditional": True, "relative": True, "false_alarm_rate": 0.1},
    "full": {"class_conditional": True, "class_covariance": "full"},
    "groups": {"groups": (1, 3), "normalize": "l2", "class_conditional": True},
}


@pytest.mark.parametrize("by", ["feature", "direction", "group"])
@pytest.mark.parametrize("kind", KINDS)
def test_contributions_add_up_and_do_not_depend_on_the_batch(kind, by):
    scorer = MahalanobisScorer(**KINDS[kind], random_state=0).fit(X, Y)
    rows = NEW[:270]
    found = scorer.contributions(rows, by=by)
    assert (found >= 0).all()
    assert_allclose(found.sum(axis=1), scorer.mahalanobis(rows), rtol=1e-9)
    assert_array_equal(scorer.contributions(rows[7:], by=by), found[7:])
    assert_array_equal(scorer.contributions(rows[260:261], by=by), found[260:261])
    scores = scorer.score_samples(rows)
    assert_array_equal(scorer.score_samples(rows[259:]), scores[259:])


def test_contributions_by_feature_are_those_of_the_corr_max_transformation():
    scorer = MahalanobisScorer(random_state=0).fit(X)
    std = np.sqrt(np.diag(scorer.covariance_))
    values, vectors = np.linalg.eigh(scorer.covariance_ / np.outer(std, std))
    root = vectors / np.sqrt(values) @ vectors.T
    expected = np.square((NEW - scorer.location_) / std @ root)
    assert_allclose(scorer.contributions(NEW), expected, rtol=1e-8, atol=1e-12)


def test_contributions_by_direction_are_those_of_principal_components():
    scorer = MahalanobisScorer(random_state=0).fit(X)
    values, vectors = np.linalg.eigh(scorer.covariance_)
    expected = np.square((NEW - scorer.location_) @ vectors) / values
    found = scorer.contributions(NEW, by="direction")
    assert_allclose(found, expected[:, ::-1], rtol=1e-8, atol=1e-12)
    with pytest.raises(ValueError, match="by must be one of 'feature', 'direction'"):
        scorer.contributions(NEW, by="row")


@pytest.mark.parametrize("kind", ["plain", "tied", "low rank"])
def test_pairwise_is_scipys(kind):
    scorer = MahalanobisScorer(**KINDS[kind], random_state=0).fit(X, Y)
    metric = {"metric": "mahalanobis", "VI": np.linalg.inv(scorer.covariance_)}
    found = scorer.pairwise(NEW[:40], X[:30])
    assert_allclose(found, cdist(NEW[:40], X[:30], **metric), rtol=1e-7)
    itself = scorer.pairwise(NEW[:40])
    assert_array_equal(itself, itself.T)
    assert (np.diag(itself) == 0).all()


def test_pairwise_needs_one_metric_and_the_same_columns():
    scorer = MahalanobisScorer(**KINDS["full"], random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match=r"needs one covariance.*'tied'"):
        scorer.pairwise(NEW)
    with pytest.raises(ValueError, match="4 features"):
        scorer.set_params(class_covariance="tied").fit(X, Y).pairwise(NEW, X[:, :3])


def test_names_of_columns_are_checked_everywhere():
    frame = pd.DataFrame(X, columns=list("abcd"))
    scorer = MahalanobisScorer(class_conditional=True, random_state=0)
    scorer.fit(frame, pd.Series(NAMES))
    for method in ("nearest_class", "contributions", "pairwise", "drift"):
        with pytest.raises(ValueError, match="feature names"):
            getattr(scorer, method)(frame[list("dcba")])


def test_space_grows_with_a_block_of_rows_times_the_classes():
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(20000, 8)), np.arange(20000) % 100
    scorer = MahalanobisScorer(class_conditional=True, relative=True, random_state=0)
    scorer.fit(rows, y)
    for method in ("score_samples", "nearest_class"):
        tracemalloc.start()
        getattr(scorer, method)(rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # all distances from the 100 means would be 16 MB, and copies of them
        assert peak < 12e6, method
