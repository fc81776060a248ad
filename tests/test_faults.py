"""Bad input to every public estimator: a clear error, and everything as it was.

What else can go wrong is tested where it happens: a full disk, an unwritable folder
and the checkpoint of another fit in training/test_checkpoint.py, the same for saved
files in persistence/; divergence, Ctrl-C and networks that raise in
manifold/test_autoencoder.py and generation/test_gan.py; constant and repeated rows, and
fewer rows than a batch, in test_contracts.py.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from manifoldgen import (
    AutoencoderManifold,
    LatentGAN,
    MahalanobisScorer,
    ManifoldScorer,
    make_generative_pipeline,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
)

MANIFOLD = AutoencoderManifold(2, hidden_sizes=(4,), max_epochs=1, random_state=0)
GAN = LatentGAN(hidden_sizes=(4,), max_epochs=1, random_state=0)
ESTIMATORS = {
    "AutoencoderManifold": MANIFOLD,
    "convolutions": clone(MANIFOLD).set_params(architecture="conv", channels=(2,)),
    "LatentGAN": GAN,
    "conditional LatentGAN": clone(GAN).set_params(conditional=True),
    "MahalanobisScorer": MahalanobisScorer(random_state=0),
    "ManifoldScorer": ManifoldScorer(MANIFOLD, random_state=0),
    "GenerativePipeline": make_generative_pipeline(StandardScaler(), MANIFOLD, GAN),
}
# a Pipeline fits its steps in place, scorers work in float64
WHOLE = [name for name in ESTIMATORS if name != "GenerativePipeline"]
IN_FLOAT32 = [name for name in WHOLE if not name.endswith("Scorer")]
PARTIAL = [name for name, it in ESTIMATORS.items() if hasattr(it, "partial_fit")]

X = np.random.RandomState(0).standard_normal((30, 4))
Y = np.arange(30) % 2


def spoilt(value):
    rows = X.copy()
    rows[3, 2] = value
    return rows


BAD = {
    "NaN": (spoilt(np.nan), ValueError, "NaN"),
    "infinity": (spoilt(np.inf), ValueError, "infinity"),
    "complex": (X + 1j, ValueError, "[Cc]omplex"),
    "text": (X.astype(str).astype(object) + "x", ValueError, "could not convert"),
    "objects": (np.full((30, 4), object()), TypeError, "float"),
    "sparse": (csr_array(X), (TypeError, ValueError), "[Ss]parse"),
    "no rows": (X[:0], ValueError, "0 sample"),
    "no columns": (X[:, :0], ValueError, "0 feature"),
    "one dimension": (X[:, 0], ValueError, "1D array"),
    "a number": (np.array(1.0), ValueError, "scalar array|0D array"),
    "five dimensions": (X.reshape(5, 6, 2, 2, 1), ValueError, "dim 5|dim <= 2"),
    "None": (None, ValueError, "Expected 2D array"),
    "text alone": ("rows", ValueError, "could not convert"),
    "rows of other lengths": ([[1.0, 2.0], [3.0]], ValueError, "inhomogeneous|array"),
}


@pytest.mark.parametrize("fault", BAD)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_bad_rows_in_fit(name, fault):
    rows, error, match = BAD[fault]
    estimator = clone(ESTIMATORS[name])
    before = set(vars(estimator))
    with pytest.raises(error, match=match):
        estimator.fit(rows, Y)
    if name in WHOLE:
        assert set(vars(estimator)) == before
        with pytest.raises(NotFittedError):
            call(estimator, X)


@pytest.mark.parametrize("fault", [*BAD, "wide", "narrow"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_bad_rows_after_fit(name, fault):
    rows, error, match = BAD.get(fault, (None, ValueError, "features"))
    if fault in ("wide", "narrow"):
        rows = X[:, [0, 1, 2, 3, 0]] if fault == "wide" else X[:, :3]
    estimator = clone(ESTIMATORS[name]).fit(X, Y)
    with pytest.raises(error, match=match):
        call(estimator, rows)


def call(estimator, rows):
    for method in ("transform", "score_samples", "score"):
        if hasattr(estimator, method):
            return getattr(estimator, method)(rows)
    raise AssertionError("no method to call")


@pytest.mark.parametrize("fault", ["NaN", "infinity", "complex", "no rows", "sparse"])
@pytest.mark.parametrize("name", PARTIAL)
def test_bad_rows_in_partial_fit_change_nothing(name, fault):
    rows, error, match = BAD[fault]
    estimator = clone(ESTIMATORS[name])
    with pytest.raises(error, match=match):
        estimator.partial_fit(rows)
    with pytest.raises(NotFittedError):
        call(estimator, X)
    estimator.partial_fit(X)
    before = call(estimator, X)
    with pytest.raises(error, match=match):
        estimator.partial_fit(rows)
    with pytest.raises(ValueError, match="features"):
        estimator.partial_fit(X[:, :3])
    np.testing.assert_array_equal(call(estimator, X), before)


@pytest.mark.parametrize("name", WHOLE)
def test_a_failed_fit_keeps_the_fit_before(name):
    estimator = clone(ESTIMATORS[name]).fit(X, Y)
    before = dict(vars(estimator))
    for rows in (spoilt(np.nan), np.full((30, 3), np.inf), X[:0], X[:1]):
        with pytest.raises(ValueError):
            estimator.fit(rows, Y[: len(rows)])
    assert vars(estimator) == before


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_row_is_too_few(name):
    with pytest.raises(ValueError, match=r"minimum of 2|1 sample"):
        clone(ESTIMATORS[name]).fit(X[:1], Y[:1])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_column_is_enough_or_says_why(name):
    estimator = clone(ESTIMATORS[name])
    if name in ("AutoencoderManifold", "convolutions"):
        with pytest.raises(ValueError, match=r"n_components must be .* 1 and 1, got 2"):
            estimator.fit(X[:, :1])
        estimator.set_params(n_components=1)
    if name == "ManifoldScorer":
        estimator.set_params(manifold__n_components=1)
    if name == "GenerativePipeline":
        estimator.set_params(autoencodermanifold__n_components=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        estimator.fit(X[:, :1], Y)
    assert np.isfinite(call(estimator, X[:, :1])).all()


@pytest.mark.parametrize("name", ["AutoencoderManifold", "convolutions"])
def test_more_components_than_features(name):
    estimator = clone(ESTIMATORS[name]).set_params(n_components=5)
    with pytest.raises(
        ValueError, match=r"n_components must be .* got 5\. X has n_feat"
    ):
        estimator.fit(X)


@pytest.mark.parametrize("name", ["AutoencoderManifold", "convolutions"])
@pytest.mark.parametrize(
    ("Z", "match"),
    [
        (np.zeros((3, 1)), r"Z must have n_components=2 columns.*got 1"),
        (np.zeros((3, 4)), r"Z must have n_components=2 columns.*got 4"),
        (np.zeros(2), "1D array"),
        (np.full((3, 2), np.nan), "Z contains NaN"),
        (np.full((3, 2), -np.inf), "Z contains infinity"),
        (np.full((3, 2), 1e39), "Z must hold values that float32 can hold"),
        (np.zeros((0, 2)), "0 sample"),
        (np.zeros((3, 2)) * 1j, "[Cc]omplex"),
    ],
)
def test_bad_latents(name, Z, match):
    estimator = clone(ESTIMATORS[name]).fit(X)
    with pytest.raises(ValueError, match=match):
        estimator.inverse_transform(Z)


@pytest.mark.parametrize("name", ["AutoencoderManifold", "convolutions"])
@pytest.mark.parametrize("shape", [(1, 2, 3), (4,), (0, 2, 2), (2, 2)])
def test_an_image_shape_that_does_not_match(name, shape):
    estimator = clone(ESTIMATORS[name]).set_params(image_shape=shape)
    with pytest.raises(ValueError, match=r"image_shape must be .*got"):
        estimator.fit(X)
    with pytest.raises(ValueError, match=r"image_shape must be .*got"):
        estimator.fit(X.reshape(-1, 1, 2, 2))


@pytest.mark.parametrize("name", ["AutoencoderManifold", "LatentGAN"])
def test_images_of_another_shape_than_in_fit(name):
    estimator = clone(ESTIMATORS[name]).fit(X.reshape(-1, 2, 2))
    with pytest.raises(ValueError, match=r"images of shape \(2, 2\).*\(1, 2, 2\)"):
        call(estimator, X.reshape(-1, 1, 2, 2))
    call(estimator, X)  # rows of the same width are the same images


@pytest.mark.parametrize("name", ESTIMATORS)
def test_frames_with_other_columns(name):
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = clone(ESTIMATORS[name]).fit(frame, Y)
    with pytest.raises(ValueError, match="feature names"):
        call(estimator, frame.rename(columns={"b": "z"}))
    with pytest.raises(ValueError, match="feature names"):
        call(estimator, frame[["b", "a", "c", "d"]])
    with pytest.warns(UserWarning, match="valid feature names"):
        call(estimator, X)


@pytest.mark.parametrize("name", IN_FLOAT32)
def test_values_beyond_float32(name):
    with pytest.raises(ValueError, match="X must hold values that float32 can hold"):
        clone(ESTIMATORS[name]).fit(1e100 * X, Y)
    estimator = clone(ESTIMATORS[name]).fit(X, Y)
    with pytest.raises(ValueError, match="X must hold values that float32 can hold"):
        call(estimator, 1e100 * X)


@pytest.mark.parametrize("name", ["AutoencoderManifold", "convolutions"])
def test_rows_that_a_network_cannot_take_are_an_error_and_no_nan(name):
    estimator = clone(ESTIMATORS[name]).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(ValueError, match="overflows on these rows"):
            estimator.transform(np.where(X > 0, 3e38, -3e38))


@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score"])
def test_a_manifold_that_is_not_fitted(method):
    with pytest.raises(NotFittedError):
        getattr(AutoencoderManifold(), method)(X)
