"""Bad input to every public estimator: a clear error, and everything as it was.

What else can go wrong is tested where it happens: a full disk, an unwritable folder
and the checkpoint of another fit in training/test_checkpoint.py, the same for saved
files in persistence/; divergence, Ctrl-C and networks that raise in
manifold/test_autoencoder.py and generation/test_gan.py; constant and repeated rows, and
fewer rows than a batch, in test_contracts.py.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from manifoldgen import (
    AdversarialAutoencoderManifold,
    AutoencoderManifold,
    ClassifierFeatures,
    DistilledManifold,
    ImageAugmenter,
    ImageGAN,
    JointGenerator,
    LatentFlowMatching,
    LatentGAN,
    LatentMixture,
    LatentNormalizingFlow,
    MahalanobisGenerator,
    MahalanobisScorer,
    ManifoldScorer,
    NeighborManifold,
    PretrainedFeatures,
    ScoreOutlierDetector,
    SelfSupervisedFeatures,
    TSNEManifold,
    UMAPManifold,
    VAEManifold,
    make_generative_pipeline,
)
from manifoldgen.manifold._parametric_program import ParametricProgram

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
    "ignore:The graph of neighbours falls into",
)

MANIFOLD = AutoencoderManifold(2, hidden_sizes=(4,), max_epochs=1, random_state=0)
TINY = {"hidden_sizes": (4,), "max_epochs": 1, "random_state": 0}
TSNE = TSNEManifold(perplexity=5, early_exaggeration_iter=2, n_iter=2, **TINY)
MAPS = {
    "TSNEManifold": TSNE,
    "TSNEManifold by network": clone(TSNE).set_params(placement="network"),
    "UMAPManifold": UMAPManifold(n_neighbors=5, n_epochs=2, **TINY),
    "DistilledManifold": DistilledManifold(**TINY),
    "NeighborManifold": NeighborManifold(n_neighbors=5, **TINY),
}
GAN = LatentGAN(hidden_sizes=(4,), max_epochs=1, random_state=0)
ESTIMATORS = {
    "AutoencoderManifold": MANIFOLD,
    "AdversarialAutoencoderManifold": AdversarialAutoencoderManifold(
        critic_sizes=(4,), **TINY
    ),
    "VAEManifold": VAEManifold(**TINY),
    "convolutions": clone(MANIFOLD).set_params(architecture="conv", channels=(2,)),
    **MAPS,
    "LatentGAN": GAN,
    "conditional LatentGAN": clone(GAN).set_params(conditional=True),
    "ImageGAN": ImageGAN(channels=(2,), **TINY),
    "conditional ImageGAN": ImageGAN(channels=(2,), conditional=True, **TINY),
    "LatentFlowMatching": LatentFlowMatching(**TINY),
    "LatentMixture": LatentMixture(random_state=0),
    "LatentNormalizingFlow": LatentNormalizingFlow(n_transforms=2, **TINY),
    "MahalanobisGenerator": MahalanobisGenerator(feature_law=LatentMixture(2), **TINY),
    "JointGenerator": JointGenerator(MANIFOLD, GAN, fine_tune_epochs=1, random_state=0),
    "ImageAugmenter": ImageAugmenter(random_state=0),
    "ClassifierFeatures": ClassifierFeatures(4, **TINY),
    "PretrainedFeatures": PretrainedFeatures(random_state=0),
    "SelfSupervisedFeatures": SelfSupervisedFeatures(4, **TINY),
    "MahalanobisScorer": MahalanobisScorer(random_state=0),
    "ManifoldScorer": ManifoldScorer(MANIFOLD, random_state=0),
    "ScoreOutlierDetector": ScoreOutlierDetector(random_state=0),
    "GenerativePipeline": make_generative_pipeline(StandardScaler(), MANIFOLD, GAN),
}
# a Pipeline fits its steps in place, scorers work in float64
WHOLE = [name for name in ESTIMATORS if name != "GenerativePipeline"]
IN_FLOAT32 = [name for name in WHOLE if not name.endswith(("Scorer", "Detector"))]
FROM_ONE_ROW = ["ImageAugmenter", "PretrainedFeatures"]
FROM_TWO_ROWS = [name for name in ESTIMATORS if name not in FROM_ONE_ROW]
MANIFOLDS = ["AutoencoderManifold", "convolutions", *MAPS]
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
    too_few = X[:1] if name in FROM_TWO_ROWS else X[:0]
    for rows in (spoilt(np.nan), np.full((30, 3), np.inf), X[:0], too_few):
        with pytest.raises(ValueError):
            estimator.fit(rows, Y[: len(rows)])
    assert vars(estimator) == before


@pytest.mark.parametrize("name", FROM_TWO_ROWS)
def test_one_row_is_too_few(name):
    with pytest.raises(ValueError, match=r"minimum of 2|1 sample"):
        clone(ESTIMATORS[name]).fit(X[:1], Y[:1])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_column_is_enough_or_says_why(name):
    estimator = clone(ESTIMATORS[name])
    if name.endswith(("AutoencoderManifold", "VAEManifold", "convolutions")):
        with pytest.raises(ValueError, match=r"n_components must be .* 1 and 1, got 2"):
            estimator.fit(X[:, :1])
        estimator.set_params(n_components=1)
    if name in ("ManifoldScorer", "JointGenerator"):
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


@pytest.mark.parametrize("name", MANIFOLDS)
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


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("shape", [(1, 2, 3), (4,), (0, 2, 2), (2, 2)])
def test_an_image_shape_that_does_not_match(name, shape):
    estimator = clone(ESTIMATORS[name]).set_params(image_shape=shape)
    with pytest.raises(ValueError, match=r"image_shape must be .*got"):
        estimator.fit(X)
    with pytest.raises(ValueError, match=r"image_shape must be .*got"):
        estimator.fit(X.reshape(-1, 1, 2, 2))


@pytest.mark.parametrize("name", ["AutoencoderManifold", *MAPS, "LatentGAN"])
def test_images_of_another_shape_than_in_fit(name):
    estimator = clone(ESTIMATORS[name]).fit(X.reshape(-1, 2, 2))
    with pytest.raises(ValueError, match=r"images of shape \(2, 2\).*\(1, 2, 2\)"):
        call(estimator, X.reshape(-1, 1, 2, 2))
    call(estimator, X)  # rows of the same width are the same images


BYTES = np.random.RandomState(1).randint(0, 256, (12, 3, 5, 4)).astype(np.uint8)


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match=r"minimum of 2 is required by Autoencoder"):
        clone(ESTIMATORS["convolutions"]).fit(BYTES[:1])


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3)])
def test_images_smaller_than_the_convolutions_halve_them(size):
    manifold = clone(ESTIMATORS["convolutions"]).set_params(channels=(2, 2, 2))
    images = BYTES[..., : size[0], : size[1]]
    back = manifold.fit(images).inverse_transform(manifold.transform(images))
    assert back.shape == images.shape
    assert np.isfinite(back).all()


def test_images_that_are_all_the_same():
    images = np.repeat(BYTES[:1], 12, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        manifold = clone(ESTIMATORS["convolutions"]).fit(images)
    back = manifold.inverse_transform(manifold.transform(images))
    np.testing.assert_allclose(back, images, atol=0.5)


@pytest.mark.parametrize("shift", [-256.0, 256.0])
def test_images_outside_the_range_of_their_loss(shift):
    manifold = clone(ESTIMATORS["convolutions"]).set_params(loss="bce")
    with pytest.raises(
        ValueError, match=r"'bce' needs data in \[0, 1\], got .*Put a Mi"
    ):
        manifold.fit(BYTES + shift)


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


@pytest.mark.parametrize(
    "name", [name for name in MANIFOLDS if name not in ("TSNEManifold", "UMAPManifold")]
)
def test_rows_that_a_network_cannot_take_are_an_error_and_no_nan(name):
    estimator = clone(ESTIMATORS[name]).set_params(hidden_sizes=(256,)).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(ValueError, match="overflows on these rows"):
            estimator.transform(np.where(X > 0, 3e38, -3e38))


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score"])
def test_a_manifold_that_is_not_fitted(method, name):
    with pytest.raises(NotFittedError):
        getattr(clone(ESTIMATORS[name]), method)(X)


# ------------------------------------------------------------------------------- maps


def unfittable(estimator, error, match, y=None):
    """Check that `fit` raises, and that nothing changes by it."""
    before = dict(vars(estimator))
    with pytest.raises(error, match=match):
        estimator.fit(X, y)
    assert vars(estimator) == before


PLACED = ["TSNEManifold", "UMAPManifold"]
NEIGHBORS = "NeighborManifold"
BAD_PARAMETERS = [
    (MAPS, "reconstruction_weight", -1.0, ValueError, r"\[0, inf\), got -1.0"),
    (MAPS, "noise", -0.1, ValueError, r"noise must be .* got -0.1"),
    (MAPS, "n_landmarks", -1, ValueError, "n_landmarks must be .* 4096, got -1"),
    (MAPS, "n_landmarks", 2.5, TypeError, "n_landmarks must be .* 4096, got 2.5"),
    (MAPS, "max_epochs", 0, ValueError, "max_epochs must be an int >= 1, got 0"),
    (MAPS, "architecture", "cnn", ValueError, "'mlp', 'conv', got 'cnn'"),
    (MAPS, "random_state", "x", ValueError, "random_state must be"),
    (PLACED, "n_components", 0, ValueError, "n_components must be"),
    (PLACED, "supervised", "yes", TypeError, "supervised must be True or False"),
    (PLACED, "target_weight", 1.5, ValueError, r"\[0, 1\], got 1.5"),
    (PLACED, "placement", "nearest", ValueError, "'neighbors', 'network', got 'near"),
    (PLACED, "n_placement_neighbors", 0, ValueError, "n_placement_neighbors must be"),
    (PLACED, "metric", "bird's", ValueError, "metric must be one of"),
    (PLACED, "neighbor_weight", -1, ValueError, "neighbor_weight must be"),
    (["TSNEManifold"], "n_components", 4, ValueError, "3, got 4.*UMAPManifold or Nei"),
    (["TSNEManifold"], "perplexity", 0.5, ValueError, r"perplexity must .*got 0.5"),
    (["TSNEManifold"], "perplexity", "30", TypeError, r"perplexity must .*got '30'"),
    (["TSNEManifold"], "initialization", "tsne", ValueError, "initialization must"),
    (["TSNEManifold"], "initialization", X, ValueError, r"\(30, 2\), got shape"),
    (["UMAPManifold"], "n_neighbors", 1, ValueError, "n_neighbors must be .* >= 2"),
    (["UMAPManifold"], "min_dist", 1.5, ValueError, r"\[0, 1\], got 1.5.*spread"),
    (["UMAPManifold"], "spread", 0.0, ValueError, r"spread must .* got 0.0"),
    (["UMAPManifold"], "n_epochs", 0, ValueError, "n_epochs must"),
    (["UMAPManifold"], "init", "tsne", ValueError, "init must"),
    (["DistilledManifold"], "max_reducer_samples", 1, ValueError, ">= 2, got 1"),
    ([NEIGHBORS], "n_components", 0, ValueError, "n_components must be"),
    ([NEIGHBORS], "n_neighbors", 0, ValueError, "n_neighbors must be an int >= 1"),
    ([NEIGHBORS], "objective", "tsne", ValueError, "'negative_sampling', got 'tsne'"),
    ([NEIGHBORS], "min_dist", 1.5, ValueError, r"\[0, 1\], got 1.5.*spread"),
    ([NEIGHBORS], "spread", 0, ValueError, r"spread must .* got 0"),
    ([NEIGHBORS], "negative_sample_rate", -1, ValueError, "negative_sample_rate must"),
    ([NEIGHBORS], "neighbor_weight", 0.0, ValueError, r"\(0, inf\), got 0.0"),
    ([NEIGHBORS], "anchor_weight", -1, ValueError, "anchor_weight must"),
    ([NEIGHBORS], "metric", "bird's", ValueError, "metric must be one of"),
    ([NEIGHBORS], "supervised", 1, TypeError, "supervised must be True or False"),
]


@pytest.mark.parametrize(
    ("name", "parameter", "value", "error", "match"),
    [(name, *rest) for names, *rest in BAD_PARAMETERS for name in names],
)
def test_bad_parameters_of_maps(name, parameter, value, error, match):
    unfittable(clone(MAPS[name]).set_params(**{parameter: value}), error, match, Y)
    fitted = clone(MAPS[name]).fit(X)
    unfittable(fitted.set_params(**{parameter: value}), error, match, Y)


@pytest.mark.parametrize("name", [*PLACED, NEIGHBORS])
@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "y must hold one class for each row.*got None.*supervised=False"),
        (Y[:-1], r"each of the 30 rows of X, got shape \(29,\)"),
        (np.column_stack([Y, Y]), r"each of the 30 rows of X, got shape \(30, 2\)"),
        (X[:, 0], "not whole. Bin a continuous target first"),
        (np.where(Y, np.nan, 1.0), "not whole"),
    ],
    ids=["none", "short", "table", "continuous", "nan"],
)
def test_bad_labels_of_supervised_maps(name, y, match):
    unfittable(clone(MAPS[name]).set_params(supervised=True), ValueError, match, y)


@pytest.mark.parametrize("name", [*PLACED, NEIGHBORS])
@pytest.mark.parametrize(
    "y",
    [
        np.where(Y, "a", "b"),
        np.where(Y, "a", "-1"),
        Y.astype(float),
        np.where(Y, -1, 0),
        np.full(30, -1),
        Y.astype(bool),
        [*"ab"] * 15,
        np.arange(30),
        pd.Series(Y, index=np.arange(30)[::-1]),
    ],
    ids=[
        "text",
        "text -1",
        "float",
        "half",
        "unknown",
        "bool",
        "list",
        "own",
        "series",
    ],
)
def test_labels_of_any_kind_are_classes(name, y):
    manifold = clone(MAPS[name]).set_params(supervised=True).fit(X, y)
    assert np.isfinite(manifold.transform(X)).all()


@pytest.mark.parametrize(
    ("name", "parameters", "match"),
    [
        ("TSNEManifold", {"perplexity": 40.0}, "perplexity=40 is too large for the 30"),
        ("UMAPManifold", {"n_neighbors": 40}, "n_neighbors=40 is too large for the 30"),
        (NEIGHBORS, {"n_neighbors": 40}, "n_neighbors=40 is too large for the 30"),
    ],
)
def test_more_neighbours_than_rows_are_lowered_with_a_warning(name, parameters, match):
    manifold = clone(MAPS[name]).set_params(**parameters)
    with pytest.warns(UserWarning, match=match) as caught:
        manifold.fit(X)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    assert manifold.get_params()[next(iter(parameters))] == 40
    assert np.isfinite(manifold.transform(X)).all()


class Reducer(BaseEstimator):
    """Returns what it is told to, or raises it."""

    def __init__(self, result=None):
        self.result = result

    def fit_transform(self, X, y=None):
        if isinstance(self.result, Exception):
            raise self.result
        return X[:, :2] if self.result is None else self.result


class WithoutTransform(BaseEstimator):
    def fit(self, X, y=None):
        return self


@pytest.mark.parametrize(
    ("reducer", "error", "match"),
    [
        (
            WithoutTransform(),
            TypeError,
            "estimator with fit_transform, got Without.*PCA",
        ),
        ("isomap", TypeError, "estimator with fit_transform, got 'isomap'"),
        (Reducer, TypeError, r"fit_transform, got <class"),
        (Reducer(np.zeros((29, 2))), ValueError, r"each of the 30 .* shape \(29, 2\)"),
        (Reducer(np.zeros(30)), ValueError, r"each of the 30 .* got shape \(30,\)"),
        (Reducer(np.zeros((30, 0))), ValueError, r"got shape \(30, 0\)"),
        (Reducer(spoilt(np.nan)), ValueError, "NaN or infinity for 1 of 30 rows"),
        (Reducer(spoilt(1e39)), ValueError, "NaN or infinity for 1 of 30 rows"),
        (Reducer("rows"), ValueError, "must return one row"),
        (Reducer(np.full((30, 2), "x")), ValueError, r"\(30, 2\) of <U1 from"),
        (Reducer(csr_array(X)), ValueError, "must return one row"),
    ],
)
def test_reducers_that_do_not_reduce(reducer, error, match):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        unfittable(DistilledManifold(reducer, **TINY), error, match)


def test_what_a_reducer_raises_comes_through_with_a_note():
    manifold = DistilledManifold(Reducer(OSError("no licence")), **TINY)
    with pytest.raises(OSError, match="no licence") as raised:
        manifold.fit(X)
    (note,) = raised.value.__notes__
    assert "Raised by reducer=Reducer(" in note
    assert note.endswith("on 30 rows.")


@pytest.mark.parametrize("name", MAPS)
def test_an_interrupt_before_training_leaves_a_map_as_it_was(name, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    estimator = clone(MAPS[name]).fit(X)
    before = dict(vars(estimator))
    monkeypatch.setattr(type(estimator), "_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X + 1)
    assert vars(estimator) == before


@pytest.mark.parametrize("name", MAPS)
def test_an_interrupt_in_training_keeps_what_was_learned(name):
    def interrupt(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    estimator = clone(MAPS[name]).set_params(max_epochs=9, callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    assert estimator.n_epochs_ == 2
    assert np.isfinite(estimator.inverse_transform(estimator.transform(X))).all()


def test_an_interrupt_of_the_rough_map_ends_the_fit(monkeypatch):
    step, seen = ParametricProgram.step, []

    def interrupted(self, batch, generator):
        seen.append(self.anchor is not None)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return step(self, batch, generator)

    monkeypatch.setattr(ParametricProgram, "step", interrupted)
    manifold = clone(MAPS["NeighborManifold"]).set_params(max_epochs=20, n_landmarks=9)
    unfittable(manifold, KeyboardInterrupt, None)
    assert seen == [True, True]
