"""P-values, rates of false alarms and drift of MahalanobisScorer and ManifoldScorer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, chi2, f, kstest
from sklearn.decomposition import PCA

import manifoldgen
from manifoldgen import MahalanobisScorer, ManifoldScorer
from manifoldgen.outliers._drift import permutation_pvalue
from manifoldgen.outliers._pvalues import (
    chi2_threshold,
    conformal_pvalues,
    conformal_threshold,
    f_pvalues,
    f_threshold,
    n_calibration_needed,
    n_chi2_needed,
)


def rows_of(n, d, rng):
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) + 5.0


RNG = np.random.default_rng(0)
X, NEW = rows_of(400, 4, RNG), rows_of(300, 4, RNG)
Y = np.arange(400) % 2

# ---------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 1 / 3, 0.5])
def test_beyond_the_threshold_pvalues_are_at_most_the_rate(rate):
    needed = n_calibration_needed(rate)
    assert 1 / (1 + needed) <= rate + 1e-12 < 1 / needed
    rng = np.random.default_rng(0)
    for n in (needed, needed + 1, 250):
        calibration = rng.integers(0, 40, n).astype(float)  # with ties
        threshold = conformal_threshold(calibration, rate)
        distances = np.arange(-1.0, 45.0, 0.5)
        small = conformal_pvalues(distances, calibration) <= rate + 1e-12
        assert_array_equal(distances > threshold, small)


def test_f_and_chi2_thresholds_invert_their_pvalues():
    thresholds = np.array([f_threshold(0.05, 30, 4)])
    assert_allclose(f_pvalues(thresholds, 30, 4), 0.05)
    assert chi2_threshold(0.05, 4) == pytest.approx(chi2.isf(0.05, 4))
    for d in (1, 4, 64):
        n = n_chi2_needed(d)
        flagged = [f_pvalues(np.array([chi2.isf(0.05, d)]), m, d) for m in (n - 1, n)]
        assert flagged[0] > 0.055 >= flagged[1]


# ----------------------------------------------------------------------- laws of fits


@pytest.mark.parametrize(("d", "n"), [(10, 20), (10, 500), (30, 60), (64, 128)])
def test_f_pvalues_of_fresh_rows_are_uniform(d, n):
    rng = np.random.default_rng([d, n])
    scorer = MahalanobisScorer(covariance="empirical", pvalue_method="f")
    pvalues = []
    for _ in range(80):
        rows = rows_of(n + 1, d, rng)
        pvalues.append(scorer.fit(rows[:n]).pvalue(rows[n:])[0])
    assert kstest(pvalues, "uniform").pvalue > 0.01


GUARANTEED = {
    "oas": {},
    "groups": {"groups": (2, 4)},
    "classes": {"class_conditional": True, "relative": True, "normalize": "l2"},
}


@pytest.mark.parametrize("name", GUARANTEED)
def test_conformal_rates_are_what_they_guarantee(name):
    # heavy tails, and groups that depend on each other: far from every law
    rng, n, n_fits = np.random.default_rng(1), 100, 120
    y = np.arange(n) % 2
    scorer, pvalues = MahalanobisScorer(**GUARANTEED[name]), []
    for seed in range(n_fits):
        rows = rng.standard_t(3, size=(n + 1, 6))
        rows[:, 3] = rows[:, 0] ** 2
        scorer.set_params(random_state=seed).fit(rows[:n], y)
        pvalues.append(scorer.pvalue(rows[n:])[0])
    m = len(scorer._calibration())
    assert m == (10 if name == "groups" else 20)
    for rate in (0.1, 0.2, 0.5):
        guarantee = np.floor(rate * (m + 1)) / (m + 1)
        flagged = np.mean(np.array(pvalues) <= rate)
        error = np.sqrt(guarantee * (1 - guarantee) / n_fits)
        assert abs(flagged - guarantee) <= 3 * error


# -------------------------------------------------------------------- false_alarm_rate

RATED = {
    "plain": MahalanobisScorer(random_state=0),
    "diagonal": MahalanobisScorer(covariance="diagonal", random_state=0),
    "robust": MahalanobisScorer(covariance="robust", random_state=0),
    "full classes": MahalanobisScorer(
        class_conditional=True, class_covariance="full", random_state=0
    ),
    "groups": MahalanobisScorer(groups=(2, 2), random_state=0),
    "f": MahalanobisScorer(covariance="empirical", pvalue_method="f"),
    "manifold": ManifoldScorer(PCA(2), random_state=0),
    "manifold of few": ManifoldScorer(PCA(2), covariance="ppca", random_state=0),
}


@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("name", RATED)
def test_predict_flags_where_the_pvalue_is_at_most_the_rate(name, rate):
    scorer = RATED[name].set_params(false_alarm_rate=rate)
    some = slice(200 if name == "manifold of few" else None)
    scorer.fit(X[some], Y[some])
    rows = np.vstack([NEW, X, 3 * NEW])
    assert_array_equal(scorer.predict(rows) == -1, scorer.pvalue(rows) <= rate)
    flagged = (scorer.predict(NEW) == -1).sum()
    # about the rate: 4 standard errors of 300 new and at least 40 calibration rows
    error = np.sqrt(rate * (1 - rate) * (1 / 300 + 1 / 40))
    assert abs(flagged / 300 - rate) < 4 * error


def test_with_a_rate_all_distances_are_from_rows_that_do_not_calibrate():
    scorer = MahalanobisScorer(false_alarm_rate=0.1, random_state=0).fit(X)
    calibrating = np.isin(X[:, 0], scorer._reservoir[2][:80, 0])
    assert calibrating.sum() == 80
    others = MahalanobisScorer(calibration_fraction=0.0).fit(X[~calibrating])
    assert_allclose(scorer.score_samples(NEW), others.score_samples(NEW), rtol=1e-9)
    assert_allclose(scorer.covariance_, others.covariance_, rtol=1e-9)
    assert scorer.n_samples_seen_ == 400


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_huge_row_that_calibrates_does_not_hide_the_others(dtype):
    rows = np.random.default_rng(0).normal(size=(500, 20)).astype(dtype)
    found = MahalanobisScorer(false_alarm_rate=0.1, random_state=0).fit(rows)
    first = np.isin(rows[:, 0], found._reservoir[2][:1, 0])
    rows[first] = -1e6 if dtype == np.float32 else 1e10
    scorer = MahalanobisScorer(false_alarm_rate=0.1, random_state=0).fit(rows)
    assert_allclose(scorer.covariance_, found.covariance_, atol=1e-3)


@pytest.mark.parametrize("make", [MahalanobisScorer, ManifoldScorer])
def test_one_threshold_alone(make):
    with pytest.raises(ValueError, match="contamination must be None where false_al"):
        make(contamination=0.1, false_alarm_rate=0.1).fit(X)
    for rate in (0.0, 0.6):
        with pytest.raises(ValueError, match="false_alarm_rate must be a number in"):
            make(false_alarm_rate=rate).fit(X)
    scorer = MahalanobisScorer(random_state=0).fit(X)
    stated = MahalanobisScorer(contamination=0.1, random_state=0).fit(X)
    assert scorer.offset_ == stated.offset_


def test_a_rate_that_calibration_rows_are_too_few_for():
    scorer = MahalanobisScorer(false_alarm_rate=0.01, random_state=0)
    match = r"rate=0\.01 needs 99 calibration rows at least, got 80.*with 495 rows, or"
    with pytest.raises(ValueError, match=match):
        scorer.fit(X)
    scorer.set_params(calibration_fraction=0.25).fit(X)
    assert (scorer.pvalue(NEW) >= 0.01 - 1e-12).all()
    with pytest.raises(ValueError, match="a calibration_fraction above 0"):
        scorer.set_params(calibration_fraction=0.0).fit(X)


# -------------------------------------------------------------- laws that do not hold


@pytest.mark.parametrize("method", ["f", "chi2"])
@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({}, "holds for covariance='empirical', got covariance='oas'"),
        ({"covariance": "ppca"}, "got covariance='ppca'"),
        ({"class_conditional": True}, "holds for class_conditional=False"),
        ({"class_conditional": True, "relative": True}, "class_conditional=False"),
        ({"normalize": "l2"}, "holds for normalize=None, got normalize='l2'"),
        ({"groups": (2, 2)}, r"holds for groups=None, got groups=\(2, 2\)"),
    ],
)
def test_gaussian_laws_are_refused_where_they_do_not_hold(method, parameters, match):
    parameters = {"covariance": "empirical", **parameters} if parameters else {}
    with pytest.raises(ValueError, match=f"{match}.*Use pvalue_method='conformal'"):
        MahalanobisScorer(pvalue_method=method, **parameters).fit(X, Y)


def test_chi2_needs_many_rows():
    scorer = MahalanobisScorer(covariance="empirical", pvalue_method="chi2")
    needed = n_chi2_needed(4)
    rows = rows_of(needed, 4, np.random.default_rng(0))
    assert_allclose(
        scorer.fit(rows).pvalue(NEW), chi2.sf(scorer.mahalanobis(NEW), 4), rtol=1e-12
    )
    match = f"holds from {needed} rows on, got {needed - 1}. Use pvalue_method='f'"
    with pytest.raises(ValueError, match=match):
        scorer.fit(rows[1:]).pvalue(NEW)
    with pytest.raises(ValueError, match="more rows than columns, got 4 rows of 4"):
        scorer.fit(rows[:4]).pvalue(NEW)
    scorer.set_params(false_alarm_rate=0.1).fit(rows)
    assert -scorer.offset_ == pytest.approx(chi2.isf(0.1, 4))
    before = scorer.offset_
    with pytest.raises(ValueError, match="takes mean and covariance as known"):
        scorer.fit(rows[1:])
    assert scorer.offset_ == before


# ------------------------------------------------------------------------------- drift


def test_drift_is_hotellings_test():
    scorer = MahalanobisScorer(covariance="empirical", ridge=0.0).fit(X)
    n, m, d = 400, 300, 4
    gap = NEW.mean(axis=0) - X.mean(axis=0)
    statistic = n * m / (n + m) * gap @ np.linalg.solve(np.cov(X.T), gap)
    found = scorer.drift(NEW)
    assert found.statistic == pytest.approx(statistic, rel=1e-9)
    expected = f.sf(statistic * (n - d) / (d * (n - 1)), d, n - d)
    assert found.pvalue == pytest.approx(expected, rel=1e-9)
    assert_allclose(found.mean_shift, gap, rtol=1e-9, atol=1e-12)
    # a batch of one row is drift by as much as its own p-value says
    law = MahalanobisScorer(covariance="empirical", pvalue_method="f").fit(X)
    assert law.drift(NEW[:1]).pvalue == pytest.approx(law.pvalue(NEW[:1])[0], rel=1e-6)


@pytest.mark.parametrize("covariance", ["empirical", "oas"])
def test_pvalues_of_drift_are_uniform_without_and_small_with_it(covariance):
    rng = np.random.default_rng(3)
    scorer = MahalanobisScorer(covariance=covariance, random_state=0)
    pvalues = []
    for _ in range(40):
        rows = rows_of(60, 5, rng)
        scorer.fit(rows[:40])
        pvalues.append(scorer.drift(rows[40:]).pvalue)
    assert kstest(pvalues, "uniform").pvalue > 0.01
    moved = scorer.drift(rows[40:] + 9.0 * np.eye(5)[2])
    assert moved.pvalue <= 0.001
    assert abs(moved.mean_shift).argmax() == 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"class_conditional": True, "class_covariance": "full"},
        {"groups": (1, 3), "normalize": "l2"},
        {"covariance": "robust"},
        {"covariance": "ledoit_wolf", "false_alarm_rate": 0.1},
    ],
)
def test_drift_of_every_kind(parameters):
    scorer = MahalanobisScorer(**parameters, random_state=0).fit(X, Y)
    still, moved = scorer.drift(NEW), scorer.drift(NEW + 3.0 * np.eye(4)[1])
    assert still.pvalue > 0.01
    assert moved.pvalue == 0.001
    assert moved.statistic > still.statistic
    assert moved.mean_shift.shape == (4,)
    assert scorer.drift(NEW).pvalue == still.pvalue


def test_drift_without_the_rows_says_so(tmp_path):
    scorer = MahalanobisScorer(random_state=0).fit(X)
    expected = scorer.drift(NEW)
    for include_data in (True, False):
        manifoldgen.save(scorer, tmp_path / "scorer", include_data=include_data)
        again = manifoldgen.load(tmp_path / "scorer")
        if include_data:
            assert again.drift(NEW).pvalue == expected.pvalue
        else:
            with pytest.raises(ValueError, match="include_data=True"):
                again.drift(NEW)


def test_permutations_count_as_all_of_them_do():
    white = np.array([[4.0], [3.0], [1.0], [0.0], [-1.0], [-2.0]])
    # of 15 pairs none but the first two has a sum as far from the mean
    found = permutation_pvalue(white, 2, np.random.default_rng(0))
    sums = [abs(a + b - 10 / 6) for i, a in enumerate(white) for b in white[:i]]
    share = np.mean(np.array(sums) >= abs(7 - 10 / 6) - 1e-9)
    low, high = binom.ppf([1e-4, 1 - 1e-4], 999, share)
    assert (1 + low) / 1000 <= found <= (1 + high) / 1000
