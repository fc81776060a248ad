"""Small classes are filled: exactly, with rows of their class, as imbalanced-learn."""

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manifoldgen import (
    GenerativeAugmenter,
    LatentGAN,
    LatentMixture,
    load,
    make_generative_pipeline,
    save,
)
from manifoldgen.generation._acceptance import by_distance
from manifoldgen.generation._borrowed import BorrowedKernels

IRIS, SPECIES = load_iris(return_X_y=True)
KEPT = np.r_[0:50, 50:70, 100:108]
X, Y = IRIS[KEPT], np.array(["setosa", "versicolor", "virginica"])[SPECIES[KEPT]]

GENERATORS = {
    "kernels": None,
    "conditional": LatentMixture(1, conditional=True),
    "switched on": LatentMixture(1),
    "one a class": GaussianMixture(1),
    "pipeline": make_generative_pipeline(PCA(2), LatentMixture(1)),
    "stock pipeline": make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.3)),
}


@pytest.mark.parametrize("chosen", ["mahalanobis", "classifier", None])
@pytest.mark.parametrize("name", GENERATORS)
def test_counts_are_exact_and_given_rows_come_first(name, chosen):
    augmenter = GenerativeAugmenter(
        GENERATORS[name], sampling_strategy="all", filter=chosen, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        X_all, y_all = augmenter.fit_resample(X, Y)
    assert Counter(y_all) == dict.fromkeys(np.unique(Y), 50)
    assert_array_equal(X_all[: len(X)], X, strict=True)
    assert_array_equal(y_all[: len(Y)], Y)
    assert X_all.dtype == X.dtype
    assert y_all.dtype == Y.dtype
    assert augmenter.n_new_ == {"versicolor": 30, "virginica": 42}
    assert augmenter.sampling_strategy_ == {"setosa": 0, **augmenter.n_new_}
    assert 0 < augmenter.acceptance_ <= 1
    assert len(np.unique(X_all[len(X) :], axis=0)) == 72


def test_new_rows_are_nearest_to_their_class():
    X_all, y_all = GenerativeAugmenter(random_state=0).fit_resample(X, Y)
    held_out = np.setdiff1d(np.arange(150), KEPT)
    fitted = LogisticRegression(max_iter=500).fit(X_all[len(X) :], y_all[len(X) :])
    names = np.array(["setosa", "versicolor", "virginica"])[SPECIES[held_out]]
    assert fitted.score(IRIS[held_out], names) > 0.9


def test_one_seed_gives_one_answer_and_none_another():
    one, other = (
        GenerativeAugmenter(random_state=3).fit_resample(X, Y)[0] for _ in range(2)
    )
    assert_array_equal(one, other)
    fresh = GenerativeAugmenter().fit_resample(X, Y)[0]
    assert not np.array_equal(fresh, one)


def test_conditional_generators_are_fitted_once_and_others_by_class():
    once = GenerativeAugmenter(LatentMixture(1), random_state=0)
    once.fit_resample(X, Y)
    assert once.generator_.conditional
    assert not once.generator.conditional
    assert_array_equal(once.generator_.classes_, np.unique(Y))
    each = GenerativeAugmenter(GaussianMixture(1), random_state=0)
    each.fit_resample(X, Y)
    assert set(each.generator_) == {"versicolor", "virginica"}
    assert_allclose(
        each.generator_["virginica"].means_[0], X[Y == "virginica"].mean(axis=0)
    )


# --------------------------------------------------------------- containers, dtypes


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
def test_images_of_bytes(shape):
    digits, labels = load_digits(return_X_y=True)
    images = digits[:200].reshape(-1, *shape).astype(np.uint8)
    y = (labels[:200] == 3).astype(int)
    X_all, y_all = GenerativeAugmenter(random_state=0).fit_resample(images, y)
    assert X_all.dtype == np.uint8
    assert X_all.shape == (2 * (y == 0).sum(), *shape)
    assert X_all.max() <= 16
    assert np.bincount(y_all).tolist() == [(y == 0).sum()] * 2


def test_data_frames_of_pandas():
    frame = pd.DataFrame(10 * X, columns=list("abcd"))
    frame = frame.astype({"a": int, "b": "Int16", "c": np.float32})
    frame.index += 7
    y = pd.Series(Y, index=frame.index, name="species", dtype="category")
    X_all, y_all = GenerativeAugmenter(random_state=0).fit_resample(frame, y)
    assert_array_equal(X_all.dtypes, frame.dtypes)
    assert list(X_all.index) == list(range(150)) == list(y_all.index)
    pd.testing.assert_frame_equal(X_all[: len(X)], frame.reset_index(drop=True))
    assert y_all.name == "species"
    assert y_all.dtype == y.dtype


def test_data_frames_of_polars():
    frame = pl.DataFrame(10 * X, schema=list("abcd")).cast({"a": pl.UInt8})
    y = pl.Series("species", Y.tolist())
    X_all, y_all = GenerativeAugmenter(random_state=0).fit_resample(frame, y)
    assert X_all.schema == frame.schema
    assert X_all[: len(X)].equals(frame)
    assert y_all.name == "species"
    assert Counter(y_all) == dict.fromkeys(np.unique(Y), 50)


def test_lists_and_truth_values():
    flags = X > X.mean(axis=0)
    X_all, y_all = GenerativeAugmenter(random_state=0).fit_resample(flags, Y.tolist())
    assert X_all.dtype == bool
    assert Counter(y_all) == dict.fromkeys(np.unique(Y), 50)


def test_a_column_that_is_no_number():
    frame = pd.DataFrame(X, columns=list("abcd")).astype({"b": "category"})
    with pytest.raises(TypeError, match="column 'b' of category"):
        GenerativeAugmenter().fit_resample(frame, Y)


# ------------------------------------------------------------- with imbalanced-learn


def test_it_acts_at_fit_only_in_a_pipeline_of_imbalanced_learn():
    augmenter = GenerativeAugmenter(random_state=0)
    pipe = make_sampling_pipeline(
        StandardScaler(), augmenter, LogisticRegression(max_iter=500)
    ).fit(X, Y)
    assert pipe[1].n_new_ == {"versicolor": 30, "virginica": 42}
    scaled = StandardScaler().fit_transform(X)
    alone = LogisticRegression(max_iter=500).fit(
        *clone(augmenter).fit_resample(scaled, Y)
    )
    assert_allclose(pipe.predict_proba(X), alone.predict_proba(scaled))
    scores = cross_val_score(pipe, X, Y, cv=3, scoring="balanced_accuracy")
    assert scores.mean() > 0.85


def test_a_search_over_strategies():
    y = (Y == "virginica").astype(int)
    search = GridSearchCV(
        make_sampling_pipeline(
            GenerativeAugmenter(random_state=0), LogisticRegression(max_iter=500)
        ),
        {"generativeaugmenter__sampling_strategy": [0.3, 0.6, "auto"]},
        scoring="balanced_accuracy",
        cv=3,
        error_score="raise",
    ).fit(X, y)
    assert search.cv_results_["mean_test_score"].shape == (3,)
    assert search.best_estimator_[0].n_new_[1] > 0


def test_fit_counts_and_draws_nothing():
    augmenter = GenerativeAugmenter(sampling_strategy={"virginica": 60}).fit(X, Y)
    assert augmenter.sampling_strategy_ == {"virginica": 52}
    assert not hasattr(augmenter, "n_new_")


# -------------------------------------------------------------- kernels and filters


def test_kernels_keep_mean_and_covariance():
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((4000, 3)) @ rng.standard_normal((3, 3))
    rows[2000:] += 9.0
    codes = np.repeat([0, 1], 2000)
    kernels = BorrowedKernels(rows, codes, smoothing=0.5)
    for code in (0, 1):
        drawn = kernels.draw(np.full(20_000, code), rng)
        mine = rows[codes == code]
        assert_allclose(drawn.mean(axis=0), mine.mean(axis=0), atol=0.06)
        scale = np.trace(np.cov(mine.T))
        error = np.abs(np.cov(drawn.T) - np.cov(mine.T)).max()
        assert error < 0.05 * scale  # a range that is cut costs a little


def test_few_rows_borrow_the_shape_of_the_others():
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((1000, 40)) * np.linspace(0.1, 3.0, 40)
    codes = (np.arange(1000) >= 996).astype(int)
    drawn = BorrowedKernels(rows, codes, smoothing=1.0).draw(np.ones(4000, int), rng)
    spread, own = drawn.std(axis=0), rows[codes == 1].std(axis=0)
    truth = np.linspace(0.1, 3.0, 40)
    assert np.abs(spread / truth - 1).mean() < 0.3 * np.abs(own / truth - 1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_smoothing_repeats_rows_or_forgets_them(smoothing):
    kernels = BorrowedKernels(X, (Y == "setosa").astype(int), smoothing)
    drawn = kernels.draw(np.ones(30, int), np.random.RandomState(0))
    known = {tuple(row) for row in X[Y == "setosa"]}
    assert all((tuple(row) in known) == (smoothing == 0.0) for row in drawn)


def test_distances_are_those_of_the_steadied_covariance():
    rng = np.random.RandomState(0)
    rows, codes = rng.standard_normal((60, 3)), np.repeat([0, 1], [50, 10])
    judge = by_distance(rows, codes, keep=1.0)
    parts = [rows[codes == c] for c in (0, 1)]
    pooled = sum(np.cov(part.T) * (len(part) - 1) for part in parts) / 58
    covariance = np.cov(parts[1].T, bias=True) * 10 / 13 + pooled * 3 / 13
    off = rng.standard_normal((5, 3)) - parts[1].mean(axis=0)
    expected = np.einsum("ij,jk,ik->i", off, np.linalg.inv(covariance), off)
    _, scores = judge(off + parts[1].mean(axis=0), np.ones(5, int))
    assert_allclose(-scores / -scores[0], expected / expected[0], rtol=5e-3)
    passed, _ = judge(rows, codes)
    assert passed.all()
    assert not judge(rows + 9.0, codes)[0].any()


class Elsewhere(BaseEstimator):
    """Draws rows of no class."""

    def fit(self, X, y=None):
        self.width_ = X.shape[1]
        return self

    def sample(self, n_samples=1, random_state=None):
        return random_state.uniform(50.0, 90.0, (n_samples, self.width_))


@pytest.mark.parametrize("chosen", ["mahalanobis", "classifier"])
def test_what_never_passes_is_filled_with_the_best_and_said(chosen):
    augmenter = GenerativeAugmenter(
        Elsewhere(),
        filter=chosen,
        sampling_strategy={"versicolor": 30},
        max_rounds=2,
        random_state=0,
    )
    augmenter.set_params(classifier=DummyClassifier())  # calls all rows setosa
    with pytest.warns(UserWarning, match="new rows did not pass filter="):
        _, y_all = augmenter.fit_resample(X, Y)
    assert Counter(y_all)["versicolor"] == 30
    assert augmenter.n_filled_ == augmenter.n_new_["versicolor"]
    assert augmenter.acceptance_ == 0.0


def test_the_best_of_the_rejected_are_the_nearest():
    augmenter = GenerativeAugmenter(Elsewhere(), max_rounds=3, random_state=0)
    with pytest.warns(UserWarning, match="did not pass"):
        X_all, _ = augmenter.fit_resample(X, Y)
    # the best 30 of over 600 draws, not the first 30
    assert X_all[len(X) :][:30].mean() < 68.0


# ---------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"keep": 0.0}, ValueError, r"keep must be a number in \(0, 1\]"),
        ({"smoothing": 1.5}, ValueError, r"smoothing must be a number in \[0, 1\]"),
        ({"max_rounds": 0}, ValueError, "max_rounds must be an int >= 1"),
        ({"filter": "tomek"}, ValueError, "filter must be one of 'mahalanobis'"),
        ({"generator": PCA()}, TypeError, "generator must draw rows"),
        ({"classifier": PCA()}, TypeError, "classifier must be .* has no predict"),
        ({"sampling_strategy": {"a": 3}}, ValueError, r"must name classes.*\['a'\]"),
        ({"random_state": -1}, ValueError, "random_state must be None"),
    ],
)
def test_parameters_outside_their_range(parameters, error, match):
    augmenter = GenerativeAugmenter(**parameters)
    before = dict(vars(augmenter))
    with pytest.raises(error, match=match):
        augmenter.fit_resample(X, Y)
    assert vars(augmenter) == before


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "requires y to be passed"),
        (np.linspace(0.1, 0.9, len(X)), "Unknown label type"),
        (np.zeros(len(X)), "one class"),
        (Y[:-1], "inconsistent numbers of samples"),
        (np.array([*Y[:-1], None], dtype=object), "missing"),
        (np.c_[Y, Y], "1d array|multiclass-multioutput|Unknown label"),
        (np.r_[["alone"], Y[1:]], "more rows of class 'alone', which has 1 row"),
    ],
)
def test_labels_that_do_not_serve(y, match):
    with pytest.raises(ValueError, match=match):
        GenerativeAugmenter().fit_resample(X, y)


def test_a_class_of_one_row_may_stay_alone():
    y = np.r_[["alone"], Y[1:]]
    augmenter = GenerativeAugmenter(sampling_strategy={"virginica": 20}, random_state=0)
    _, y_all = augmenter.fit_resample(X, y)
    assert Counter(y_all)["alone"] == 1


def test_an_error_of_a_generator_names_the_class():
    with pytest.raises(ValueError, match="n_samples") as raised:
        GenerativeAugmenter(GaussianMixture(9)).fit_resample(X, Y)
    assert any("class 'virginica'" in note for note in raised.value.__notes__)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::manifoldgen.exceptions.CollapseWarning")
def test_a_network_draws_by_label():
    gan = LatentGAN(hidden_sizes=(8,), max_epochs=2)
    augmenter = GenerativeAugmenter(gan, filter=None, random_state=0)
    X_all, y_all = augmenter.fit_resample(X, Y)
    assert Counter(y_all) == dict.fromkeys(np.unique(Y), 50)
    assert np.isfinite(X_all).all()


# ----------------------------------------------------------------- images that move

DIGITS, LABELS = load_digits(return_X_y=True)
FEW = np.r_[np.flatnonzero(LABELS == 3)[:40], np.flatnonzero(LABELS == 8)[:3]]
IMAGES, TWO = DIGITS[FEW], LABELS[FEW]


def moving(**parameters):
    parameters = {"smoothing": 0.0, "filter": None, "random_state": 0} | parameters
    return GenerativeAugmenter(**({"image_shape": (1, 8, 8)} | parameters))


def shifted_by_one(image):
    """Return all shifts by up to a pixel, border pixels replicated."""
    around = np.pad(image.reshape(8, 8), 1, mode="edge")
    return {
        tuple(around[i : i + 8, j : j + 8].ravel()) for i in range(3) for j in range(3)
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_copies_that_are_shifted_are_shifts_of_their_class(dtype):
    augmenter = moving(augment={"shift": 0.125})
    X_all, y_all = augmenter.fit_resample(IMAGES.astype(dtype), TWO)
    assert X_all.dtype == dtype
    assert_array_equal(X_all[: len(IMAGES)], IMAGES)
    new = {tuple(row) for row in X_all[len(IMAGES) :]}
    possible = set.union(*map(shifted_by_one, IMAGES[TWO == 8]))
    assert new <= possible
    # 37 draws of 27 shifts of 3 images: equal rows are not changed alike
    assert len(new) > 10
    assert Counter(y_all) == {3: 40, 8: 40}


def test_moved_images_stay_in_the_range_of_the_data_and_near_their_class():
    moves = {"rotate": 10.0, "noise": 0.02}
    images = IMAGES.reshape(-1, 1, 8, 8) - 20.0
    augmenter = moving(
        augment=moves,
        image_shape=None,
        sampling_strategy=lambda y: dict.fromkeys(np.unique(y).tolist(), 300),
    )
    X_all, y_all = augmenter.fit_resample(images, TWO)
    new, classes = X_all[len(images) :], y_all[len(images) :]
    assert X_all.shape == (600, 1, 8, 8)
    assert new.min() == -20.0
    assert new.max() == images.max()
    assert len(np.unique(new.reshape(len(new), -1), axis=0)) == len(new)
    for label, n_new in ((3, 260), (8, 297)):
        assert (classes == label).sum() == n_new
        centre = images[TWO == label].mean(axis=0)
        other = images[label != TWO].mean(axis=0)
        mean = new[classes == label].mean(axis=0)
        assert np.linalg.norm(mean - centre) < 0.5 * np.linalg.norm(mean - other)


def test_nothing_moves_by_a_strength_of_0_and_rows_that_pass_are_judged_before():
    still = moving(augment={"rotate": 0.0}).fit_resample(IMAGES, TWO)[0]
    assert_array_equal(still, moving(augment=None).fit_resample(IMAGES, TWO)[0])
    # a wild change is no reason to reject a row
    one = moving(filter="mahalanobis", smoothing=0.3, augment={"rotate": 180.0})
    one.fit_resample(IMAGES, TWO)
    other = clone(one).set_params(augment=None)
    other.fit_resample(IMAGES, TWO)
    assert one.acceptance_ == other.acceptance_


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"augment": ["bend"]}, ValueError, "augment must name operations"),
        ({"augment": "flip"}, TypeError, "augment must be None, a sequence"),
        ({"augment": {"rotate": 200}}, ValueError, r"augment\['rotate'\] must be"),
        ({"augment": ["flip"], "image_shape": None}, ValueError, "2 by 2 pixels"),
        ({"image_shape": (1, 7, 8)}, ValueError, "image_shape must be .* got"),
        ({"image_shape": 64}, (TypeError, ValueError), "image_shape must be"),
    ],
)
def test_images_that_cannot_move(parameters, error, match):
    augmenter = moving(**parameters)
    before = dict(vars(augmenter))
    with pytest.raises(error, match=match):
        augmenter.fit_resample(IMAGES, TWO)
    assert vars(augmenter) == before


def test_channels_last_do_not_move():
    colours = np.zeros((4, 8, 8, 3))
    with pytest.raises(ValueError, match="channels last"):
        moving(augment=["flip"], image_shape=None).fit_resample(colours, [0, 0, 0, 1])


# ------------------------------------------------------------------- bad rows, files


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        (np.where(X > 7.0, np.nan, X), ValueError, "NaN"),
        (np.where(X > 7.0, np.inf, X), ValueError, "infinity"),
        (X + 1j, ValueError, "[Cc]omplex"),
        (X.astype(str).astype(object) + "x", ValueError, "could not convert"),
        (csr_array(X), (TypeError, ValueError), "[Ss]parse"),
        (X[:0], ValueError, "0 sample"),
        (X[:, 0], ValueError, "1D array"),
        (None, ValueError, "Expected 2D array"),
    ],
)
def test_bad_rows(rows, error, match):
    augmenter = GenerativeAugmenter(random_state=0)
    before = dict(vars(augmenter))
    with pytest.raises(error, match=match):
        augmenter.fit_resample(rows, Y)
    assert vars(augmenter) == before


@pytest.mark.parametrize("name", ["kernels", "conditional", "one a class"])
def test_a_file_holds_what_was_fitted(name, tmp_path):
    augmenter = GenerativeAugmenter(
        GENERATORS[name], sampling_strategy={"versicolor": 30}, random_state=0
    )
    X_all, y_all = augmenter.fit_resample(X, Y)
    save(augmenter, tmp_path / "augmenter.safetensors")
    again = load(tmp_path / "augmenter.safetensors")
    for attribute in ("sampling_strategy_", "n_new_", "acceptance_", "n_filled_"):
        assert getattr(again, attribute) == getattr(augmenter, attribute)
    if name == "one a class":
        assert_array_equal(
            again.generator_["versicolor"].means_,
            augmenter.generator_["versicolor"].means_,
        )
    X_again, y_again = again.fit_resample(X, Y)
    assert_array_equal(X_again, X_all)
    assert_array_equal(y_again, y_all)
