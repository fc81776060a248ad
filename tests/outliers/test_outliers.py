"""MahalanobisScorer and ManifoldScorer: values, laws, streams and bad input."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, multivariate_normal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.manifold import TSNE
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import manifoldgen
from manifoldgen import AutoencoderManifold, MahalanobisScorer, ManifoldScorer
from manifoldgen.outliers._pvalues import conformal_pvalues
from manifoldgen.outliers._reservoir import row_keys, smallest


def gaussian(n, d, seed=0):
    rng = np.random.default_rng(seed)
    mixing = np.eye(d) + 0.3 * np.random.default_rng(99).standard_normal((d, d))
    return rng.standard_normal((n, d)) @ mixing + 3.0


def plane(n, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(99).standard_normal((2, 8))
    return rng.normal(size=(n, 2)) @ axes + noise * rng.normal(size=(n, 8))


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = [
    pytest.param(lambda **kw: MahalanobisScorer(**kw), id="mahalanobis"),
    pytest.param(lambda **kw: ManifoldScorer(PCA(2), **kw), id="manifold"),
]


# --- values ------------------------------------------------------------------------


def test_moments_and_distances_are_scikit_learns():
    X = gaussian(500, 6)
    peer = EmpiricalCovariance().fit(X)
    ours = MahalanobisScorer(covariance="empirical", ridge=0.0).fit(X)
    np.testing.assert_allclose(ours.location_, peer.location_, rtol=1e-12)
    np.testing.assert_allclose(ours.covariance_, peer.covariance_, rtol=1e-10)
    np.testing.assert_allclose(ours.mahalanobis(X), peer.mahalanobis(X), rtol=1e-8)
    assert ours.score(X) == pytest.approx(peer.score(X), rel=1e-10)
    assert ours.shrinkage_ == 0.0


def test_scores_by_hand():
    X = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, -2.0], [0.0, 2.0]])
    scorer = MahalanobisScorer(covariance="empirical", ridge=0.0).fit(X)
    # Variances are 1/2 and 2.
    np.testing.assert_allclose(
        scorer.score_samples([[1.0, 0.0], [0.0, 2.0], [2.0, 2.0]]), [-2.0, -2.0, -10.0]
    )


def test_score_is_the_mean_log_density():
    X = gaussian(400, 4)
    scorer = MahalanobisScorer().fit(X)
    density = multivariate_normal(scorer.location_, scorer.covariance_)
    assert scorer.score(X) == pytest.approx(density.logpdf(X).mean(), abs=1e-4)


@pytest.mark.parametrize("make", BOTH)
def test_decision_and_labels_follow_from_the_scores(make):
    X = plane(500)
    scorer = make(random_state=0).fit(X)
    scores = scorer.score_samples(X)
    assert scores.dtype == np.float64
    assert np.array_equal(scorer.decision_function(X), scores - scorer.offset_)
    assert np.array_equal(scorer.predict(X), np.where(scores < scorer.offset_, -1, 1))
    assert np.array_equal(make(random_state=0).fit_predict(X), scorer.predict(X))
    assert scorer.predict(X).dtype.kind == "i"


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.5])
def test_contamination_is_the_share_of_training_rows_called_outliers(contamination):
    X = gaussian(1000, 5)
    scorer = MahalanobisScorer(contamination=contamination).fit(X)
    assert np.mean(scorer.predict(X) == -1) == contamination


def test_offset_of_more_rows_than_are_kept():
    X = gaussian(25000, 3)
    scorer = MahalanobisScorer(random_state=0).fit(X)
    other = MahalanobisScorer(random_state=1).fit(X)
    assert len(scorer._reservoir[2]) == 10000
    assert scorer.offset_ != other.offset_
    # Binomial: 10,000 rows, standard deviation .003.
    assert np.mean(scorer.predict(X) == -1) == pytest.approx(0.1, abs=0.012)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("unit", [1e-3, 1e3, 1e20])
def test_the_unit_of_the_data_changes_nothing(make, unit):
    X, new = plane(500), plane(50, seed=1, noise=0.1)
    one = make(random_state=0).fit(X)
    other = make(random_state=0).fit(unit * X)
    np.testing.assert_allclose(
        other.score_samples(unit * new), one.score_samples(new), rtol=1e-6
    )
    assert np.array_equal(other.pvalue(unit * new), one.pvalue(new))
    assert np.array_equal(other.predict(unit * new), one.predict(new))


def test_empirical_distances_do_not_depend_on_the_units_of_the_columns():
    X = gaussian(300, 4)
    units = np.array([1.0, 1e-3, 10.0, 0.1])
    one = MahalanobisScorer(covariance="empirical").fit(X)
    other = MahalanobisScorer(covariance="empirical").fit(X * units)
    # The least variance is 10^-8 of the largest: the ridge adds 10^-4 of it at most.
    np.testing.assert_allclose(
        other.score_samples(X * units), one.score_samples(X), rtol=1e-3
    )


@pytest.mark.parametrize("make", BOTH)
def test_a_row_has_one_score_whatever_comes_with_it(make):
    X = plane(700)
    scorer = make(random_state=0).fit(X)
    batch, pvalues = scorer.score_samples(X), scorer.pvalue(X)
    exact = isinstance(scorer, MahalanobisScorer)
    for first in (1, 255, 300):
        part = scorer.score_samples(X[first:])
        # PCA's own products round a row by the rows that come with it.
        np.testing.assert_allclose(part, batch[first:], rtol=0 if exact else 1e-9)
    alone = np.concatenate([scorer.score_samples(X[[i]]) for i in range(0, 700, 50)])
    np.testing.assert_allclose(alone, batch[::50], rtol=0 if exact else 1e-9)
    assert scorer.pvalue(X[[50]])[0] == pvalues[50]


def test_a_row_has_one_score_with_an_autoencoder():
    X = plane(450).astype(np.float32)
    scorer = ManifoldScorer(AutoencoderManifold(max_epochs=2), random_state=0).fit(X)
    batch = scorer.score_samples(X)
    assert np.array_equal(scorer.score_samples(X[7:]), batch[7:])
    alone = np.concatenate([scorer.score_samples(X[[i]]) for i in range(0, 450, 30)])
    assert np.array_equal(alone, batch[::30])


# --- singular data -----------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["oas", "empirical"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_off_a_singular_subspace_are_far_and_farther(covariance, dtype):
    X = plane(500, noise=0.0).astype(dtype)
    off = np.linalg.svd(X.astype(float) - X.mean(axis=0))[2][-1]
    steps = np.array([0.0, 0.1, 1.0, 10.0, 1000.0])
    rows = (X[:1] + steps[:, None] * off).astype(dtype)
    scorer = MahalanobisScorer(covariance=covariance, random_state=0).fit(X)
    distances = scorer.mahalanobis(rows)
    assert (np.diff(distances) > 0).all()
    # EmpiricalCovariance's pseudo-inverse gives all of these the same distance.
    assert distances[2] > scorer.mahalanobis(X).max()
    assert distances[4] / distances[3] == pytest.approx(1e4, rel=0.05)
    assert np.array_equal(scorer.predict(rows[2:]), [-1, -1, -1])


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_data(make, value, dtype):
    X = np.full((50, 3), value, dtype=dtype)
    with np.errstate(invalid="ignore"):  # PCA's share of no variance
        scorer = make(random_state=0).fit(X)
    rows = X[:4].copy()
    rows[1:, 0] += np.array([0.5, 1.0, 100.0], dtype=dtype)
    scores = scorer.score_samples(rows)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) < 0).all()
    assert np.array_equal(scorer.predict(rows), [1, -1, -1, -1])
    np.testing.assert_allclose(scorer.pvalue(rows), [1, 1 / 11, 1 / 11, 1 / 11])


@pytest.mark.parametrize("covariance", ["oas", "empirical"])
def test_a_constant_column_is_seen_to_change(covariance):
    X = gaussian(300, 3)
    X[:, 1] = 7.0
    scorer = MahalanobisScorer(covariance=covariance).fit(X)
    changed = X[:5].copy()
    changed[:, 1] = 60.0
    assert (scorer.predict(changed) == -1).all()


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("covariance", ["oas", "empirical"])
def test_fewer_rows_than_columns(make, covariance):
    X = gaussian(12, 40)
    scorer = make(covariance=covariance, random_state=0).fit(X)
    far = X[:1] + 1000.0
    assert np.isfinite(scorer.score_samples(X)).all()
    assert scorer.score_samples(far)[0] < scorer.score_samples(X).min()
    assert scorer.predict(far)[0] == -1


@pytest.mark.parametrize("make", BOTH)
def test_duplicated_rows(make):
    X = np.repeat(plane(5), 100, axis=0)
    scorer = make(random_state=0).fit(X)
    scores = scorer.score_samples(X).reshape(5, 100)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, scores[:, :1].repeat(100, axis=1), rtol=1e-9)


# --- p-values ----------------------------------------------------------------------


def test_conformal_pvalues_by_hand():
    calibration = np.array([4.0, 1.0, 2.0])
    found = conformal_pvalues(np.array([0.0, 1.0, 1.5, 4.0, 5.0]), calibration)
    np.testing.assert_array_equal(found, np.array([4, 4, 3, 2, 1]) / 4)


@pytest.mark.parametrize(
    ("scorer", "n"),
    [
        (MahalanobisScorer(), 60),
        (MahalanobisScorer(covariance="empirical", calibration_fraction=0.5), 60),
        (ManifoldScorer(PCA(3)), 60),
        (ManifoldScorer(PCA(3)), 500),
    ],
)
def test_conformal_pvalues_of_new_rows_are_uniform(scorer, n):
    # One new row a fit: p-values that share calibration rows are not independent.
    rng = np.random.default_rng(0)
    pvalues = []
    for seed in range(300):
        X = rng.standard_t(5, size=(n + 1, 6)) * np.arange(1, 7)
        scorer.set_params(random_state=seed).fit(X[:n])
        pvalues.append(scorer.pvalue(X[n:])[0])
    # The law is uniform on k / (1 + n_calibration); spread it out to test it.
    step = 1 / (1 + len(scorer._calibration()))
    spread = np.array(pvalues) - step * rng.random(300)
    assert kstest(spread, "uniform").pvalue > 0.001


def test_f_pvalues_of_new_gaussian_rows_are_uniform():
    rng = np.random.default_rng(0)
    pvalues = []
    for _ in range(300):
        X = rng.standard_normal((21, 8)) * np.arange(1, 9) + 5.0
        scorer = MahalanobisScorer(covariance="empirical", pvalue_method="f")
        pvalues.append(scorer.fit(X[:20]).pvalue(X[20:])[0])
    # A chi-squared law would give these half its mass below .01.
    assert kstest(pvalues, "uniform").pvalue > 0.001


def test_f_and_conformal_pvalues_agree_on_many_gaussian_rows():
    X, new = gaussian(20000, 4), gaussian(500, 4, seed=1)
    conformal = MahalanobisScorer(covariance="empirical", random_state=0).fit(X)
    exact = MahalanobisScorer(covariance="empirical", pvalue_method="f").fit(X)
    # Of 4,000 calibration rows; Kolmogorov's bound at one in 10^4 is .035.
    gap = np.abs(conformal.pvalue(new) - exact.pvalue(new)).max()
    assert gap < 0.035


def test_calibration_rows_are_not_part_of_what_they_are_measured_by():
    X = gaussian(50, 4)
    scorer = MahalanobisScorer(covariance="empirical", ridge=0, random_state=0).fit(X)
    rows = scorer._reservoir[2]
    peer = EmpiricalCovariance().fit(rows[10:])
    np.testing.assert_allclose(
        scorer._calibration(), peer.mahalanobis(rows[:10]), rtol=1e-8
    )


@pytest.mark.parametrize("make", BOTH)
def test_pvalue_needs_calibration_rows(make):
    X = plane(30)
    with pytest.raises(ValueError, match="at least one calibration row"):
        make(calibration_fraction=0.0).fit(X).pvalue(X)
    few = make(random_state=0).fit(X[:4])
    with pytest.raises(ValueError, match=r"calibration_fraction=0\.2"):
        few.pvalue(X)
    assert len(few.predict(X)) == 30
    assert set(make(random_state=0).fit(X[:5]).pvalue(X)) <= {0.5, 1.0}


def test_f_needs_more_rows_than_columns():
    scorer = MahalanobisScorer(covariance="empirical", pvalue_method="f")
    X = gaussian(6, 6)
    with pytest.raises(ValueError, match="more rows than columns, got 6 rows of 6"):
        scorer.fit(X).pvalue(X)


@pytest.mark.parametrize("kind", ["constant", "duplicated", "nearly"])
def test_f_needs_full_rank(kind):
    X = gaussian(100, 4)
    noise = np.random.default_rng(0).standard_normal(100)
    X[:, 1] = {
        "constant": 1.0,
        "duplicated": X[:, 0],
        "nearly": X[:, 0] + 1e-3 * noise,
    }[kind]
    scorer = MahalanobisScorer(covariance="empirical", pvalue_method="f").fit(X)
    with pytest.raises(ValueError, match="full rank"):
        scorer.pvalue(X)
    if kind == "nearly":
        scorer.set_params(ridge=0.0).fit(X).pvalue(X)


def test_f_holds_for_the_empirical_covariance_alone():
    with pytest.raises(ValueError, match="holds for covariance='empirical'"):
        MahalanobisScorer(pvalue_method="f").fit(gaussian(50, 2))


# --- streams -----------------------------------------------------------------------

LEARNED = (
    "location_",
    "covariance_",
    "offset_",
    "_calibration_distances",
)


@pytest.mark.parametrize("covariance", ["oas", "empirical"])
@pytest.mark.parametrize("batches", [[1, 1, 3, 495], [250, 250], [499, 1]])
def test_a_stream_learns_what_one_fit_does(covariance, batches):
    X = gaussian(500, 4)
    whole = MahalanobisScorer(covariance=covariance, random_state=7).fit(X)
    stream = MahalanobisScorer(covariance=covariance, random_state=7)
    for part in np.split(X, np.cumsum(batches)[:-1]):
        stream.partial_fit(part)
    assert stream.n_samples_seen_ == 500
    for name in LEARNED:
        np.testing.assert_allclose(
            getattr(stream, name), getattr(whole, name), rtol=1e-9, atol=1e-12
        )


def test_a_long_stream_keeps_the_rows_that_one_fit_keeps():
    X = gaussian(26000, 2)
    whole = MahalanobisScorer(random_state=7).fit(X)
    stream = MahalanobisScorer(random_state=7).fit(X[:3000])
    for first in range(3000, 26000, 5000):
        stream.partial_fit(X[first : first + 5000])
    assert np.array_equal(stream._reservoir[2], whole._reservoir[2])
    assert len(stream._calibration()) == 5200
    for name in LEARNED:
        np.testing.assert_allclose(
            getattr(stream, name), getattr(whole, name), rtol=1e-9, atol=1e-12
        )


def test_keys_depend_on_the_place_in_the_stream_alone():
    whole = row_keys(3, 0, 100)
    assert np.array_equal(np.r_[row_keys(3, 0, 37), row_keys(3, 37, 63)], whole)
    assert np.array_equal(smallest(whole, 10), np.argsort(whole)[:10])
    assert np.array_equal(smallest(whole, 200), np.argsort(whole))


def test_fit_forgets_what_was_seen():
    X = gaussian(300, 3)
    again = MahalanobisScorer(random_state=0).partial_fit(X + 5.0).fit(X)
    once = MahalanobisScorer(random_state=0).fit(X)
    assert again.n_samples_seen_ == 300
    assert np.array_equal(again.score_samples(X), once.score_samples(X))


def test_a_stream_goes_on_without_the_rows_it_kept(tmp_path):
    X = gaussian(400, 3)
    scorer = MahalanobisScorer(random_state=0).fit(X[:300])
    manifoldgen.save(scorer, tmp_path / "scorer.safetensors")
    loaded = manifoldgen.load(tmp_path / "scorer.safetensors")
    assert not hasattr(loaded, "_reservoir")
    assert np.array_equal(loaded.score_samples(X), scorer.score_samples(X))
    assert np.array_equal(loaded.pvalue(X), scorer.pvalue(X))
    with pytest.warns(UserWarning, match="rest on the rows given to partial_fit"):
        loaded.partial_fit(X[300:])
    whole = MahalanobisScorer().fit(X)
    np.testing.assert_allclose(loaded.covariance_, whole.covariance_, rtol=1e-10)
    assert np.mean(loaded.predict(X[300:]) == -1) == 0.1
    assert len(loaded._calibration()) == 20
    loaded.partial_fit(X[:10])  # the new rows are kept: no second warning


@pytest.mark.filterwarnings("error")
def test_partial_fit_of_a_pickled_scorer_goes_on():
    X = gaussian(400, 3)
    scorer = pickle.loads(pickle.dumps(MahalanobisScorer(random_state=0).fit(X[:300])))
    whole = MahalanobisScorer(random_state=0).fit(X)
    assert scorer.partial_fit(X[300:]).offset_ == pytest.approx(whole.offset_)


# --- ManifoldScorer ----------------------------------------------------------------


def test_the_score_is_the_smaller_log_p_value_of_the_two_distances():
    X, new = plane(500), plane(50, seed=1)
    pca = PCA(2, random_state=0)  # so that no seed is drawn for it
    scorer = ManifoldScorer(pca, covariance="empirical", random_state=0).fit(X)

    def parts(rows):
        Z = scorer.manifold_.transform(rows)
        return Z, rows - scorer.manifold_.inverse_transform(Z)

    learned = X[np.random.RandomState(0).permutation(500)[:250]]
    least = np.ones(50)
    for known, rows in zip(parts(learned), parts(new), strict=True):
        # a law of its own for each row that is left out, as no closed form knows it
        left_out = [
            MahalanobisScorer(covariance="empirical")
            .fit(np.delete(known, i, axis=0))
            .mahalanobis(known[i : i + 1])[0]
            for i in range(250)
        ]
        law = MahalanobisScorer(covariance="empirical").fit(known)
        n_farther = np.sum(law.mahalanobis(rows)[:, None] <= left_out, axis=1)
        least = np.minimum(least, n_farther / 251)
    # where one of 250 is farther or none, the survival is interpolated or a tail
    np.testing.assert_allclose(np.exp(scorer.score_samples(new)), least, atol=1.5 / 251)


def test_a_noisy_residual_of_many_columns_does_not_drown_the_latents():
    rng = np.random.default_rng(0)

    def rows(n, spread):
        X = np.c_[spread * rng.normal(size=(n, 2)), 0.1 * rng.normal(size=(n, 198))]
        return X * rng.choice([0.5, 2.0], size=(n, 1)) ** np.repeat([0, 1], [2, 198])

    X, new, odd = rows(2000, 1.0), rows(500, 1.0), rows(500, 4.0)
    scorer = ManifoldScorer(PCA(2), random_state=0).fit(X)
    truth = np.r_[np.ones(500), np.zeros(500)]
    both = np.vstack([new, odd])
    Z = scorer.manifold_.transform(both)
    residual = both - scorer.manifold_.inverse_transform(Z)
    latents = scorer.latent_scorer_.score_samples(Z)
    added = latents + scorer.residual_scorer_.score_samples(residual)
    found = roc_auc_score(truth, scorer.score_samples(both))
    assert found > roc_auc_score(truth, added) + 0.1
    assert found > roc_auc_score(truth, latents) - 0.1


def test_the_density_is_that_of_latents_times_that_of_the_residual():
    X = plane(500)
    scorer = ManifoldScorer(PCA(2), random_state=0).fit(X)
    Z = scorer.manifold_.transform(X)
    residual = X - scorer.manifold_.inverse_transform(Z)
    densities = scorer.latent_scorer_.score(Z), scorer.residual_scorer_.score(residual)
    assert scorer.score(X) == pytest.approx(sum(densities))


def test_latents_alone_miss_what_lies_off_the_manifold():
    X, new = plane(600), plane(200, seed=1)
    off = np.linalg.svd(X - X.mean(axis=0))[2][-1]
    scorer = ManifoldScorer(PCA(2), random_state=0).fit(X)
    latents = scorer.latent_scorer_
    Z, Z_off = scorer.manifold_.transform(new), scorer.manifold_.transform(new + off)
    truth = np.r_[np.zeros(200), np.ones(200)]
    both = -scorer.score_samples(np.vstack([new, new + off]))
    alone = -latents.score_samples(np.vstack([Z, Z_off]))
    assert roc_auc_score(truth, both) == 1.0
    assert roc_auc_score(truth, alone) == pytest.approx(0.5, abs=0.05)


class Remembers(TransformerMixin, BaseEstimator):
    """Gives training rows back exactly, and the mean of them for any other."""

    def fit(self, X, y=None):
        self.rows_ = {row.tobytes() for row in np.asarray(X, dtype=np.float64)}
        self.mean_ = np.mean(X, axis=0)
        return self

    def transform(self, X):
        known = [row.tobytes() in self.rows_ for row in X]
        return np.column_stack([X, known]).astype(np.float64)

    def inverse_transform(self, Z):
        return np.where(Z[:, -1:] == 1, Z[:, :-1], self.mean_)


def test_a_manifold_that_overfits_does_not_flag_new_rows():
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(1000, 5)), rng.normal(size=(4000, 5))
    scorer = ManifoldScorer(Remembers(), random_state=0).fit(X)
    assert len(scorer.manifold_.rows_) == 500
    # Of 500 unseen rows: standard deviation .014.
    assert np.mean(scorer.predict(new) == -1) == pytest.approx(0.1, abs=0.04)
    assert np.mean(scorer.pvalue(new) <= 0.1) == pytest.approx(0.1, abs=0.08)


def test_with_few_rows_the_manifold_sees_all_but_the_calibration_rows():
    X = np.random.default_rng(0).normal(size=(399, 5))
    scorer = ManifoldScorer(Remembers(), random_state=0).fit(X)
    assert len(scorer.manifold_.rows_) == 399 - 79
    assert len(scorer._calibration()) == 79
    assert scorer.latent_scorer_.n_samples_seen_ == 399
    unseen = scorer.manifold_.transform(X)[:, -1] == 0
    assert unseen.sum() == 79


def test_offset_keeps_its_rate_with_few_rows_to_a_column():
    rates = []
    for seed in range(5):
        X, new = gaussian(460, 60, seed=seed), gaussian(2000, 60, seed=100 + seed)
        scorer = ManifoldScorer(PCA(5), random_state=seed).fit(X)
        rates.append(np.mean(scorer.predict(new) == -1))
    # As they stand, the 230 rows behind 60 columns would put the rate above .2.
    assert np.mean(rates) == pytest.approx(0.1, abs=0.025)


def test_a_pipeline_serves_as_a_manifold():
    X = plane(500)
    chain = make_pipeline(StandardScaler(), PCA(2))
    scorer = ManifoldScorer(chain.set_output(transform="pandas"), random_state=0)
    off = X + np.linalg.svd(X - X.mean(axis=0))[2][-1]
    assert (scorer.fit(X).predict(off) == -1).all()
    assert not hasattr(chain, "n_features_in_")


def test_seeds_go_where_there_are_none():
    X = plane(420)
    chain = make_pipeline(
        PCA(4, svd_solver="randomized", random_state=11),
        AutoencoderManifold(max_epochs=1),
    )
    first = ManifoldScorer(chain, random_state=0).fit(X)
    again = ManifoldScorer(chain, random_state=0).fit(X)
    other = ManifoldScorer(chain, random_state=1).fit(X)
    parameters = first.manifold_.get_params()
    assert parameters["pca__random_state"] == 11
    assert isinstance(parameters["autoencodermanifold__random_state"], int)
    assert chain[-1].random_state is None
    assert np.array_equal(first.score_samples(X), again.score_samples(X))
    assert not np.array_equal(first.score_samples(X), other.score_samples(X))


def test_the_default_manifold():
    X = plane(420).astype(np.float32)
    scorer = ManifoldScorer(random_state=0).fit(X)
    assert isinstance(scorer.manifold_, AutoencoderManifold)
    assert scorer.manifold is None
    assert (scorer.predict(X + 10 * np.eye(8, dtype=np.float32)[0]) == -1).all()


class Broken(TransformerMixin, BaseEstimator):
    def __init__(self, how="nan"):
        self.how = how

    def fit(self, X, y=None):
        if self.how == "raises":
            raise RuntimeError("no manifold here")
        return self

    def transform(self, X):
        return X[:, :1]

    def inverse_transform(self, Z):
        return np.full((len(Z), 8), np.nan) if self.how == "nan" else Z


@pytest.mark.parametrize(
    ("manifold", "error", "match"),
    [
        (MinMaxScaler, TypeError, "class"),
        (TSNE(), TypeError, "has no transform"),
        (MahalanobisScorer(), TypeError, "has no transform"),
        ("pca", TypeError, "has no fit"),
        (Broken("nan"), ValueError, "finite latents"),
        (Broken("narrow"), ValueError, "rows of 8 features"),
        (Broken("raises"), RuntimeError, "no manifold here"),
    ],
)
def test_a_manifold_that_does_not_serve(manifold, error, match):
    scorer = ManifoldScorer(PCA(2), random_state=0).fit(plane(450))
    before = vars(scorer).copy()
    scorer.manifold = manifold
    with pytest.raises(error, match=match):
        scorer.fit(plane(450, seed=1))
    scorer.manifold = before["manifold"]
    assert vars(scorer) == before


def test_a_row_whose_latents_overflow_is_infinitely_far():
    X = plane(450).astype(np.float32)
    scorer = ManifoldScorer(AutoencoderManifold(max_epochs=1), random_state=0).fit(X)
    rows = X[:3].copy()
    rows[1] = 1e37
    scores = scorer.score_samples(rows)
    assert not np.isnan(scores).any()
    assert scorer.predict(rows)[1] == -1
    assert np.array_equal(scores[[0, 2]], scorer.score_samples(X[[0, 2]]))


# --- containers and bad input ------------------------------------------------------


@pytest.mark.parametrize("make", BOTH)
def test_images_are_rows(make):
    images = plane(450).reshape(-1, 2, 4)
    scorer = make(random_state=0).fit(images)
    rows = make(random_state=0).fit(images.reshape(450, 8))
    assert np.array_equal(
        scorer.score_samples(images), rows.score_samples(images.reshape(450, 8))
    )


@pytest.mark.parametrize("make", BOTH)
def test_names_of_columns_are_remembered(make):
    frame = pd.DataFrame(plane(450), columns=list("abcdefgh"))
    scorer = make(random_state=0).fit(frame)
    assert list(scorer.feature_names_in_) == list("abcdefgh")
    with pytest.raises(ValueError, match="feature names"):
        scorer.score_samples(frame[list("hgfedcba")])


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.array([[1.0, np.nan], [2.0, 3.0]]), "NaN"),
        (np.array([[1.0, np.inf], [2.0, 3.0]]), "infinity"),
        (np.array([[1.0 + 1j, 2.0], [3.0, 4.0]]), "[Cc]omplex"),
        (np.array([["a", "b"], ["c", "d"]], dtype=object), "could not convert"),
        (np.empty((0, 2)), "minimum of 2"),
        (np.array([1.0, 2.0, 3.0]), "2D array"),
        (np.array([[1.0, 2.0]]), "minimum of 2"),
    ],
    ids=["nan", "inf", "complex", "object", "empty", "1-D", "one row"],
)
def test_bad_rows(make, bad, match):
    scorer = make(random_state=0)
    with pytest.raises(ValueError, match=match):
        scorer.fit(bad)
    assert not hasattr(scorer, "offset_")


@pytest.mark.parametrize("make", BOTH)
def test_wrong_width_and_nan_after_fit(make):
    scorer = make(random_state=0).fit(plane(60))
    for method in ("score_samples", "decision_function", "predict", "pvalue", "score"):
        with pytest.raises(ValueError, match="8 features"):
            getattr(scorer, method)(np.ones((3, 7)))
        with pytest.raises(ValueError, match="NaN"):
            getattr(scorer, method)(np.full((3, 8), np.nan))


def test_one_column():
    X = np.random.default_rng(0).normal(size=(500, 1))
    scorer = MahalanobisScorer(random_state=0).fit(X)
    np.testing.assert_allclose(
        scorer.mahalanobis(X), ((X - X.mean()) ** 2 / X.var())[:, 0], rtol=1e-5
    )
    scorer = ManifoldScorer(PCA(1), random_state=0).fit(X)
    assert np.array_equal(scorer.predict([[0.0], [50.0]]), [1, -1])


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize(
    ("parameter", "value", "error"),
    [
        ("covariance", "mcd", ValueError),
        ("ridge", -1e-3, ValueError),
        ("ridge", 2.0, ValueError),
        ("ridge", "small", TypeError),
        ("contamination", 0.0, ValueError),
        ("contamination", 0.6, ValueError),
        ("contamination", "auto", TypeError),
        ("calibration_fraction", 1.0, ValueError),
        ("calibration_fraction", -0.1, ValueError),
        ("calibration_fraction", None, TypeError),
        ("random_state", "seed", ValueError),
    ],
)
def test_bad_parameters_are_named_and_leave_a_fit_as_it_was(
    make, parameter, value, error
):
    X = plane(60)
    scorer = make().fit(X)
    before = scorer.offset_
    scorer.set_params(**{parameter: value})
    with pytest.raises(
        error, match="seed" if parameter == "random_state" else parameter
    ):
        scorer.fit(X[:30])
    assert scorer.offset_ == before


def test_bad_parameters_of_mahalanobis_scorer_alone():
    with pytest.raises(ValueError, match="pvalue_method must be one of"):
        MahalanobisScorer(pvalue_method="t").fit(gaussian(9, 2))
    with pytest.raises(ValueError, match="contamination"):
        MahalanobisScorer(contamination=0.7).partial_fit(gaussian(9, 2))
    scorer = MahalanobisScorer().fit(gaussian(9, 2))
    with pytest.raises(ValueError, match="2 features"):
        scorer.partial_fit(gaussian(9, 3))
    assert scorer.n_samples_seen_ == 9


@pytest.mark.parametrize("make", BOTH)
def test_not_fitted(make):
    for method in ("score_samples", "decision_function", "predict", "pvalue", "score"):
        with pytest.raises(NotFittedError):
            getattr(make(), method)(plane(3))


@pytest.mark.parametrize("make", BOTH)
def test_global_random_state_is_left_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make().fit(plane(60)).pvalue(plane(5))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("make", BOTH)
def test_save_load_and_pickle(make, tmp_path):
    X = plane(450)
    scorer = make(random_state=0).fit(X)
    manifoldgen.save(scorer, tmp_path / "scorer.safetensors")
    for again in (
        manifoldgen.load(tmp_path / "scorer.safetensors"),
        pickle.loads(pickle.dumps(scorer)),
    ):
        assert np.array_equal(again.predict(X), scorer.predict(X))
        assert np.array_equal(again.pvalue(X), scorer.pvalue(X))
    assert np.array_equal(clone(scorer).fit(X).predict(X), scorer.predict(X))


# --- real data ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_corrupted_digits_are_found(seed):
    X, y = load_digits(return_X_y=True)
    train, test = train_test_split(X, stratify=y, random_state=seed)
    rng = np.random.default_rng(seed)
    corrupted = {
        "noise": np.clip(test + rng.normal(0, 4, test.shape), 0, 16),
        "shuffled": rng.permuted(test, axis=1),
        "inverted": 16 - test,
    }
    scorer = ManifoldScorer(random_state=seed).fit(train)
    truth = np.r_[np.zeros(len(test)), np.ones(len(test))]
    for rows in corrupted.values():
        scores = -scorer.score_samples(np.vstack([test, rows]))
        assert roc_auc_score(truth, scores) >= 0.98
    # Of 674 unseen and 450 test rows: standard deviation .018.
    assert np.mean(scorer.predict(test) == -1) == pytest.approx(0.1, abs=0.06)
