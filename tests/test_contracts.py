"""What holds for every manifold, generator and scorer of the package."""

import copy
import io
import pickle
import random
from functools import cache

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import Isomap
from threadpoolctl import threadpool_limits
from torch import nn

import manifoldgen
from manifoldgen import (
    AdversarialAutoencoderManifold,
    AutoencoderManifold,
    ClassifierFeatures,
    DistilledManifold,
    GenerativeAugmenter,
    GenerativePipeline,
    ImageAugmenter,
    ImageGAN,
    JointGenerator,
    LatentFlowMatching,
    LatentGAN,
    LatentMixture,
    LatentNormalizingFlow,
    MahalanobisConstraint,
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
)
from manifoldgen.exceptions import DeviceWarning

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
    "ignore:.*too large for the .* distinct rows",
    "ignore:.*too few for a map",
    "ignore:All rows of X are equal",
    "ignore:The graph of neighbours falls into",
)

X, Y = load_digits(return_X_y=True)
X, Y = X[:330] / 16, Y[:330] % 3
X.setflags(write=False)


class OwnEncoder(nn.Sequential):
    """Draws weights and dropout from the global generators, as user code does."""

    def __init__(self, n_in, n_out):
        random.random()
        np.random.rand()  # noqa: NPY002
        super().__init__(
            nn.Linear(n_in, 16), nn.Dropout(0.2), nn.Tanh(), nn.Linear(16, n_out)
        )


class OwnDecoder(nn.Sequential):
    def __init__(self, n_in, n_out):
        torch.manual_seed(7)
        super().__init__(nn.Linear(n_in, 16), nn.ReLU(), nn.Linear(16, n_out))

    def forward(self, x):
        torch.rand(1)  # in evaluation too
        return super().forward(x)


class OwnFilters(nn.Sequential):
    """Draws from the global generator, in evaluation too."""

    def __init__(self, image_shape):
        depth = image_shape[0]
        super().__init__(nn.Conv2d(depth, 3, 3, padding=1), nn.Dropout(0.2), nn.Tanh())

    def forward(self, images):
        torch.rand(1)
        return super().forward(images)


def jittered_error(output, target):
    return (output - target + 0.01 * torch.rand_like(target)).square().mean()


SMALL = {"max_epochs": 3, "random_state": 0}
CONV = {"architecture": "conv", "image_shape": (1, 8, 8), "channels": (4, 6)}
OWN = {"encoder": OwnEncoder, "decoder": OwnDecoder, "loss": jittered_error}

NARROW = {"hidden_sizes": (16,), **SMALL}
NETWORK = {"placement": "network", "n_landmarks": 20, **NARROW}
SHORT_TSNE = {"perplexity": 8, "early_exaggeration_iter": 10, "n_iter": 10}
SHORT_UMAP = {"n_neighbors": 8, "n_epochs": 10}

AUTOENCODERS = {
    "perceptrons": AutoencoderManifold(3, hidden_sizes=(16,), **SMALL),
    "one wide component": AutoencoderManifold(1, hidden_sizes=(300,), **SMALL),
    "linear": AutoencoderManifold(2, hidden_sizes=(), **SMALL),
    "convolutions": AutoencoderManifold(2, **CONV, **SMALL),
    "whitened": AutoencoderManifold(2, hidden_sizes=(16,), whiten=True, **SMALL),
    "cross-entropy": AutoencoderManifold(2, hidden_sizes=(16,), loss="bce", **SMALL),
    "noisy": AutoencoderManifold(
        2, hidden_sizes=(16,), noise=0.1, dropout=0.2, **SMALL
    ),
    "own networks": AutoencoderManifold(2, **OWN, **SMALL),
    "variational": VAEManifold(3, **NARROW),
    "variational convolutions": VAEManifold(
        2,
        conditional=True,
        kl_warmup_epochs=2,
        average_decay=0.9,
        **CONV,
        **SMALL,
    ),
    "adversarial": AdversarialAutoencoderManifold(
        3, critic_sizes=(16,), neighbor_weight=0.1, **NARROW
    ),
    "sharpened convolutions": AdversarialAutoencoderManifold(
        2, critic_sizes=(8,), sharpening_weight=0.1, **CONV, **SMALL
    ),
    "adversarial own networks": AdversarialAutoencoderManifold(
        2, critic_sizes=(8,), prior="uniform", critic_loss="hinge", **OWN, **SMALL
    ),
}
MAPS = {
    "t-sne": TSNEManifold(**SHORT_TSNE, **NARROW),
    "t-sne by network": TSNEManifold(3, **SHORT_TSNE, **NETWORK),
    "umap": UMAPManifold(**SHORT_UMAP, supervised=True, **NARROW),
    "umap by network": UMAPManifold(
        5, **SHORT_UMAP, neighbor_weight=0.1, metric="cosine", **NETWORK
    ),
    "distilled pca": DistilledManifold(**NARROW),
    "distilled isomap": DistilledManifold(
        Isomap(n_neighbors=8), max_reducer_samples=100, n_landmarks=20, **NARROW
    ),
    "neighbours": NeighborManifold(n_neighbors=8, n_landmarks=20, **NARROW),
    "neighbours in 5-d": NeighborManifold(
        5, validation_fraction=0.2, dropout=0.1, **NARROW
    ),
    "negative sampling": NeighborManifold(
        1, objective="negative_sampling", n_landmarks=20, supervised=True, **NARROW
    ),
    "neighbours by convolutions": NeighborManifold(n_landmarks=20, **CONV, **SMALL),
    "neighbours by own networks": NeighborManifold(**OWN, **SMALL),
}
MANIFOLDS = {**AUTOENCODERS, **MAPS}
GENERATORS = {
    "gan": LatentGAN(hidden_sizes=(16, 16), **SMALL),
    "conditional gan": LatentGAN(hidden_sizes=(16,), conditional=True, **SMALL),
    "hinge gan": LatentGAN(hidden_sizes=(16,), loss="hinge", truncation=2.0, **SMALL),
    "gan of convolutions": ImageGAN(
        (1, 8, 8), channels=(4, 6), hidden_sizes=(16,), **SMALL
    ),
    "gan of strips": ImageGAN(
        channels=(4,), loss="hinge", augment=("shift",), truncation=2.0, **SMALL
    ),
    "flow": LatentFlowMatching(hidden_sizes=(16, 12), n_steps=3, **SMALL),
    "conditional flow": LatentFlowMatching(
        hidden_sizes=(16,), conditional=True, n_steps=2, reflow_epochs=2, **SMALL
    ),
    "mixture": LatentMixture(random_state=0),
    "conditional mixture": LatentMixture(
        2, conditional=True, covariance_type="diag", random_state=0
    ),
    "conditional spline flow": LatentNormalizingFlow(
        n_transforms=2, n_bins=3, hidden_sizes=(16,), conditional=True, **SMALL
    ),
    "mahalanobis generator": MahalanobisGenerator(
        3, feature_law=LatentMixture(2, conditional=True), conditional=True, **NARROW
    ),
}
# manifolds with a density, which draw from it
GENERATORS |= {k: it for k, it in AUTOENCODERS.items() if k.startswith("variational")}
FEW = AutoencoderManifold(3, hidden_sizes=(16,), **SMALL)
JOINT = {"fine_tune_epochs": 2, "critic_sizes": (16,), "random_state": 0}
GENERATORS |= {
    "joint gan": JointGenerator(FEW, GENERATORS["gan"], **JOINT),
    "joint mixture": JointGenerator(FEW, GENERATORS["conditional mixture"], **JOINT),
}
SCORERS = {
    "mahalanobis": MahalanobisScorer(random_state=0),
    "empirical": MahalanobisScorer(covariance="empirical", random_state=0),
    "classes": MahalanobisScorer(
        covariance="ledoit_wolf",
        class_conditional=True,
        relative=True,
        normalize="l2",
        random_state=0,
    ),
    "score detector": ScoreOutlierDetector(
        MahalanobisScorer(covariance="diagonal"), random_state=0
    ),
    "manifold scorer": ManifoldScorer(MANIFOLDS["perceptrons"], random_state=0),
    "pca scorer": ManifoldScorer(PCA(5), random_state=0),
}
AUGMENTERS = {"augmenter": ImageAugmenter(image_shape=(1, 8, 8), random_state=0)}
FEW_MAPS = {"image_shape": (1, 8, 8), "channels": (4, 6), **SMALL}
FEATURES = {
    "random features": PretrainedFeatures(
        layers=("conv1", "conv3"), pooling="mean_std", random_state=0
    ),
    "own features": PretrainedFeatures(OwnFilters, random_state=0),
    "classifier features": ClassifierFeatures(8, dropout=0.1, **FEW_MAPS),
    "transformation features": SelfSupervisedFeatures(
        8, views=("same", "turn90"), **FEW_MAPS
    ),
    "strip features": SelfSupervisedFeatures(8, objective="vicreg", **SMALL),
}
ALL = {**MANIFOLDS, **GENERATORS, **SCORERS, **AUGMENTERS, **FEATURES}
TRAINED = [name for name, it in ALL.items() if hasattr(it, "max_epochs")]
PER_ROW = ("transform", "inverse_transform", "reconstruction_error", "score_samples")


@cache
def fitted(name):
    """Return the estimator fitted on all rows; not to be changed."""
    return clone(ALL[name]).fit(X, Y)


def networks_of(estimator):
    """Return the fitted networks by name; some maps have no encoder."""
    names = getattr(estimator, "_networks", ())
    return {
        name: getattr(estimator, name) for name in names if hasattr(estimator, name)
    }


def answers(estimator, rows=X):
    """Return everything that a fitted estimator says, by name."""
    found = {}
    for method in (*PER_ROW, "decision_function", "predict", "pvalue", "score"):
        if method == "inverse_transform" and hasattr(estimator, method):
            found[method] = estimator.inverse_transform(estimator.transform(rows))
        elif hasattr(estimator, method):
            found[method] = getattr(estimator, method)(rows)
    if hasattr(estimator, "sample"):
        found["sample"] = estimator.sample(20, random_state=0)
    for network, module in networks_of(estimator).items():
        for key, tensor in module.state_dict().items():
            found[f"{network}.{key}"] = tensor.numpy()
    for attribute in ("embedding_", "isolated_", "distillation_score_"):
        if hasattr(estimator, attribute):
            found[attribute] = getattr(estimator, attribute)
    return found


def assert_same_answers(one, other, rows=X):
    ours, theirs = answers(one, rows), answers(other, rows)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert_array_equal(ours[name], theirs[name], err_msg=name, strict=True)


def test_every_public_estimator_is_under_contract():
    public = {
        it
        for it in map(manifoldgen.__getattr__, manifoldgen._HOMES)
        if isinstance(it, type) and issubclass(it, BaseEstimator)
    }
    # a sampler makes rows in fit_resample and answers nothing afterwards; a constraint
    # is a part of others, see test_constraints.py
    others = {GenerativeAugmenter, GenerativePipeline, MahalanobisConstraint}
    assert public - others == {type(it) for it in ALL.values()}


# ------------------------------------------------------------- shapes, types, rows


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back_in_float32(name, dtype):
    manifold = fitted(name)
    Z = manifold.transform(X.astype(dtype))
    back = manifold.inverse_transform(Z)
    assert Z.shape == (len(X), manifold.n_components_)
    assert back.shape == X.shape
    assert Z.dtype == back.dtype == np.float32
    assert manifold.reconstruction_error(X).dtype == np.float64
    assert isinstance(manifold.score(X), float)


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_float64(name, dtype):
    scorer = fitted(name)
    scores = scorer.score_samples(X.astype(dtype))
    assert scores.shape == (len(X),)
    assert scores.dtype == np.float64
    assert_array_equal(
        scorer.decision_function(X), scorer.score_samples(X) - scorer.offset_
    )
    assert_array_equal(
        scorer.predict(X), np.where(scorer.decision_function(X) < 0, -1, 1)
    )
    assert isinstance(scorer.score(X), float)


# scikit-learn's PCA multiplies whole batches, so a scorer on top of it is left out
@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [name for name in ALL if name != "pca scorer"])
def test_a_row_is_the_same_bits_alone_in_a_batch_and_elsewhere(name, dtype, n_threads):
    estimator = fitted(name)
    rows = X.copy()
    rows[::2] += 0.01 * np.random.RandomState(0).standard_normal(rows[::2].shape)
    rows = rows.astype(dtype)  # half of them new
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with threadpool_limits(n_threads):
            for method in PER_ROW:
                if not hasattr(estimator, method):
                    continue
                call, given = getattr(estimator, method), rows
                if method == "inverse_transform":
                    given = estimator.transform(rows).astype(dtype)
                whole = call(given)
                for start, stop in [(0, 1), (5, 6), (85, 86), (171, 174), (255, 257)]:
                    assert_array_equal(call(given[start:stop]), whole[start:stop])
                assert_array_equal(call(given[7:]), whole[7:])
                assert_array_equal(call(given[::-1])[::-1], whole)
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_networks_answer_alike_for_any_number_of_threads(name):
    manifold, before = fitted(name), torch.get_num_threads()
    found = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        try:
            Z = manifold.transform(X)
            found.append((Z, manifold.inverse_transform(Z)))
        finally:
            torch.set_num_threads(before)
    for Z, back in found[1:]:
        assert_array_equal(Z, found[0][0])
        assert_array_equal(back, found[0][1])


@pytest.mark.parametrize("name", MANIFOLDS)
def test_fit_transform_is_fit_then_transform(name):
    Z = clone(MANIFOLDS[name]).fit_transform(X, Y)
    assert_array_equal(Z, fitted(name).transform(X), strict=True)


@pytest.mark.parametrize("name", ALL)
def test_float32_rows_give_what_their_float64_copies_give(name):
    # fit on the same values in two widths: moments are taken in float64 from both
    rows = X.astype(np.float32)
    narrow = clone(ALL[name]).fit(rows, Y)
    wide = clone(ALL[name]).fit(rows.astype(np.float64), Y)
    ours, theirs = answers(narrow, rows), answers(wide, rows)
    for key in ours.keys() - {"predict", "pvalue"}:  # ranks may flip on rounding
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-3, atol=1e-4)
    if name in MAPS and "distilled" not in name:  # a reducer may round as it likes
        assert_same_answers(narrow, wide, rows)


# ------------------------------------------------------------------------- sampling


@pytest.mark.parametrize("name", GENERATORS)
def test_counts_type_and_seed_of_samples(name):
    generator = fitted(name)
    assert generator.sample().shape == (1, 64)
    for n in (1, 2, 255, 256, 257, 600):
        rows = generator.sample(n, random_state=3)
        assert rows.shape == (n, 64)
        assert rows.dtype == np.float32
    assert_array_equal(generator.sample(9, random_state=3), rows[:9])
    assert_array_equal(
        generator.sample(9, random_state=np.random.RandomState(3)), rows[:9]
    )
    assert not np.array_equal(generator.sample(9, random_state=4), rows[:9])
    assert not np.array_equal(generator.sample(9), generator.sample(9))


@pytest.mark.parametrize("name", GENERATORS)
def test_a_random_state_that_is_handed_over_advances(name):
    generator, rng = fitted(name), np.random.RandomState(0)
    first, second = (generator.sample(4, random_state=rng) for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("n_samples", [0, -1, 2.5, True, "3"])
def test_n_samples_that_is_no_count(n_samples):
    with pytest.raises((TypeError, ValueError), match="n_samples must be an int >= 1"):
        fitted("gan").sample(n_samples)


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize("name", GENERATORS)
def test_a_frame_gives_a_frame(name, library):
    columns = [f"pixel {i}" for i in range(64)]
    if library is pd:
        frame = pd.DataFrame(X, columns=columns)
    else:
        frame = pl.DataFrame(X, schema=columns)
    generator = clone(GENERATORS[name]).fit(frame, Y)
    for n in (1, 5, 64, 70):
        rows = generator.sample(n, random_state=0)
        assert isinstance(rows, library.DataFrame)
        assert list(rows.columns) == columns
        expected = fitted(name).sample(n, random_state=0)
        assert_array_equal(rows.to_numpy(), expected, strict=True)


def test_a_frame_whose_columns_are_numbers():
    frame = pd.DataFrame(X[:, :3], columns=[3, 7, 9])
    rows = LatentGAN(max_epochs=1).fit(frame).sample(2)
    assert isinstance(rows, pd.DataFrame)
    assert list(rows.columns) == [3, 7, 9]


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (4, 4, 4)])
@pytest.mark.parametrize("name", ALL)
def test_images_are_rows_and_come_back_as_images(name, shape):
    estimator = clone(ALL[name])
    if name.endswith("convolutions") or name in {**AUGMENTERS, **FEATURES}:
        estimator.set_params(image_shape=None)
    images = X.reshape(-1, *shape)
    estimator.fit(images, Y)
    assert estimator.n_features_in_ == 64
    if hasattr(estimator, "inverse_transform"):
        Z = estimator.transform(images)
        assert Z.shape == (len(X), estimator.n_components_)
        assert estimator.inverse_transform(Z).shape == images.shape
        assert estimator.reconstruction_error(images).shape == (len(X),)
    if hasattr(estimator, "sample"):
        assert estimator.sample(5).shape == (5, *shape)
    if hasattr(estimator, "score_samples"):
        assert estimator.score_samples(images).shape == (len(X),)
    if hasattr(estimator, "score"):
        assert_array_equal(estimator.score(images), estimator.score(X))
    if name in AUGMENTERS:
        assert estimator.transform(images).shape == images.shape


OF_BYTES = ["perceptrons", "cross-entropy", "t-sne", "umap by network"]
OF_BYTES += ["distilled pca", "neighbours", "neighbours by convolutions"]


@pytest.mark.parametrize("name", [*GENERATORS, *OF_BYTES])
def test_images_of_bytes_stay_in_their_range(name):
    images = np.clip(X * 255, 0, 255).astype(np.uint8).reshape(-1, 8, 8)
    estimator = clone(ALL[name]).fit(images, Y)
    if name in GENERATORS:
        out = estimator.sample(300, random_state=0)
    else:
        far = 50 * np.random.RandomState(0).standard_normal(
            (300, estimator.n_components_)
        )
        out = estimator.inverse_transform(far)
    assert out.dtype == np.float32
    assert 0 <= out.min() < out.max() <= 255
    assert out.max() > 100  # in the units of the images, not in those of the network


# --------------------------------------------------- copies, containers, scikit-learn


def by_joblib(estimator):
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize(
    "copied",
    [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy, by_joblib],
    ids=["pickle", "deepcopy", "joblib"],
)
@pytest.mark.parametrize("name", ALL)
def test_copies_answer_alike_and_share_nothing(name, copied):
    estimator = fitted(name)
    other = copied(estimator)
    assert_same_answers(estimator, other)
    for network, module in networks_of(other).items():
        mine = {p.data_ptr() for p in getattr(estimator, network).parameters()}
        assert mine.isdisjoint(p.data_ptr() for p in module.parameters())


@pytest.mark.parametrize("name", TRAINED)
def test_fitted_networks_are_at_rest_and_stay_where_they_are(name):
    estimator = fitted(name)
    for network, module in networks_of(estimator).items():
        # the copy that is pickled moves to the CPU, the fitted one must not
        assert estimator.__getstate__()[network] is not module
        assert not any(part.training for part in module.modules())
        assert not any(
            p.requires_grad or p.grad is not None for p in module.parameters()
        )
        assert all(
            getattr(part, "generator", None) is None for part in module.modules()
        )


@pytest.mark.parametrize("name", ALL)
def test_a_clone_has_the_parameters_and_nothing_learned(name):
    other = clone(fitted(name))
    assert str(other.get_params()) == str(ALL[name].get_params())
    assert not [attribute for attribute in vars(other) if attribute.endswith("_")]


@pytest.mark.parametrize("name", MANIFOLDS)
def test_names_and_frames_of_latents(name):
    manifold = clone(MANIFOLDS[name]).set_output(transform="pandas").fit(X, Y)
    prefix = type(manifold).__name__.lower()
    names = [f"{prefix}{i}" for i in range(manifold.n_components_)]
    assert list(manifold.get_feature_names_out()) == names
    Z = manifold.transform(X)
    assert list(Z.columns) == names
    assert_array_equal(Z.to_numpy(), fitted(name).transform(X), strict=True)
    assert isinstance(manifold.inverse_transform(Z), np.ndarray)
    manifold.set_output(transform="polars")
    assert isinstance(manifold.transform(X), pl.DataFrame)


# ------------------------------------------------------------------------ randomness


def global_states():
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return [
        random.getstate(),
        (name, tuple(keys), *rest),
        tuple(torch.get_rng_state().tolist()),
    ]


@pytest.mark.parametrize("random_state", [None, 5, "instance"])
@pytest.mark.parametrize("name", ALL)
def test_global_generators_are_left_alone(name, random_state):
    if random_state == "instance":
        random_state = np.random.RandomState(5)
    estimator = clone(ALL[name]).set_params(random_state=random_state)
    before = global_states()

    def unchanged_by(action):
        assert global_states() == before, action

    estimator.fit(X, Y)
    unchanged_by("fit")
    answers(estimator)
    unchanged_by("answers")
    if hasattr(estimator, "sample"):
        estimator.sample(3)
        unchanged_by("sample")
    if hasattr(estimator, "partial_fit"):
        clone(estimator).partial_fit(X, Y).partial_fit(X, Y)
        unchanged_by("partial_fit")
    if "warm_start" in estimator.get_params():
        estimator.set_params(warm_start=True).fit(X, Y)
        unchanged_by("warm start")
    pickle.loads(pickle.dumps(estimator))
    repr(estimator)
    unchanged_by("pickle and repr")


@pytest.mark.parametrize("name", ALL)
def test_a_failed_fit_leaves_the_global_generators_alone(name):
    before = global_states()
    with pytest.raises(ValueError):
        clone(ALL[name]).fit(np.full((9, 64), np.nan), Y[:9])
    assert global_states() == before


@pytest.mark.parametrize("name", ALL)
def test_one_seed_gives_one_fit(name):
    np.random.rand(3), torch.rand(3), random.random()  # noqa: NPY002
    assert_same_answers(clone(ALL[name]).fit(X, Y), fitted(name))
    seeded = clone(ALL[name]).set_params(random_state=np.random.RandomState(0))
    again = clone(ALL[name]).set_params(random_state=np.random.RandomState(0))
    assert_same_answers(seeded.fit(X, Y), again.fit(X, Y))


@pytest.mark.parametrize("name", TRAINED)
def test_other_seeds_give_other_networks(name):
    other = clone(ALL[name]).set_params(random_state=1).fit(X, Y)
    key = next(k for k in answers(other) if k.endswith("weight"))
    assert not np.array_equal(answers(other)[key], answers(fitted(name))[key])


def test_a_worker_fits_the_same_weights():
    names = list(ALL)
    found = joblib.Parallel(n_jobs=2)(
        joblib.delayed(clone(ALL[name]).fit)(X, Y) for name in names
    )
    for name, estimator in zip(names, found, strict=True):
        assert_same_answers(estimator, fitted(name))


def test_fits_side_by_side_in_threads_do_not_disturb_each_other():
    names = ["own networks", "noisy", "gan", "t-sne", "umap", "neighbours"] * 2
    found = joblib.Parallel(n_jobs=3, prefer="threads")(
        joblib.delayed(clone(ALL[name]).fit)(X, Y) for name in names
    )
    for name, estimator in zip(names, found, strict=True):
        assert_same_answers(estimator, fitted(name))


@pytest.mark.parametrize(
    "name",
    ["one wide component", "convolutions", "gan", "t-sne", "umap", "neighbours"],
)
def test_one_seed_gives_one_fit_on_two_threads_too(name):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one, other = (clone(ALL[name]).fit(X, Y) for _ in range(2))
        assert_same_answers(one, other)
    finally:
        torch.set_num_threads(before)


# ------------------------------------------------------------------------- odd data


def odd_data():
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((40, 4))
    constant = rows.copy()
    constant[:, 1] = 1e6
    return {
        "fewer rows than a batch": rows[:7],
        "two rows": rows[:2],
        "one feature": rows[:, :1],
        "a constant column": constant,
        "all columns constant": np.full((40, 4), 3.0),
        "duplicates": np.repeat(rows[:5], 8, axis=0),
        "small units": 1e-12 * rows,
        "large units": 1e12 * rows + 1e13,
        "integers": np.round(10 * rows).astype(int),
        "columns in Fortran order": np.asfortranarray(rows),
        "every other row": np.repeat(rows, 2, axis=0)[::2],
    }


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning:sklearn")
@pytest.mark.parametrize("data", odd_data())
@pytest.mark.parametrize("name", ALL)
def test_odd_data_give_finite_answers(name, data):
    rows = odd_data()[data]
    y = np.arange(len(rows)) % max(1, min(2, len(rows) // 2))
    estimator = clone(ALL[name])
    parameters = estimator.get_params()
    narrow = min(rows.shape[1], 2)
    if parameters.get("n_components") is not None:
        estimator.set_params(n_components=min(parameters["n_components"], narrow))
    if "manifold__n_components" in parameters:
        n_components = 1 if len(rows) == 2 else narrow
        estimator.set_params(manifold__n_components=n_components)
    if name.endswith("convolutions") or name in {**AUGMENTERS, **FEATURES}:
        estimator.set_params(image_shape=None)
    if name == "transformation features":  # of strips there is one view
        estimator.set_params(views=None)
    if name == "classifier features":  # which has to have two to tell apart
        y = np.arange(len(rows)) % 2
    if name == "distilled isomap":  # which refuses more, as a reducer may
        estimator.set_params(reducer__n_neighbors=min(8, len(rows) - 1))
    if name == "cross-entropy":
        rows = (rows - rows.min()) / (np.ptp(rows) or 1)
    estimator.fit(rows, y)
    for method in PER_ROW:
        if hasattr(estimator, method):
            given = rows
            if method == "inverse_transform":
                given = estimator.transform(rows)
            assert np.isfinite(getattr(estimator, method)(given)).all(), method
    if hasattr(estimator, "score"):
        assert np.isfinite(estimator.score(rows))
    if hasattr(estimator, "sample"):
        drawn = estimator.sample(50, random_state=0)
        assert np.isfinite(drawn).all()
        for column in np.flatnonzero(np.ptp(rows, axis=0) == 0):
            assert_array_equal(drawn[:, column], np.float32(rows[0, column]))


UNLABELLED = [
    name
    for name, manifold in MANIFOLDS.items()
    if not any(manifold.get_params().get(k) for k in ("supervised", "conditional"))
]


@pytest.mark.parametrize(
    "name", [*UNLABELLED, "gan", *(name for name in SCORERS if name != "classes")]
)
def test_labels_are_ignored_where_nothing_asks_for_them(name):
    without = clone(ALL[name]).fit(X)
    assert_same_answers(without, fitted(name))
    strange = clone(ALL[name]).fit(X, ["text"] * len(X))
    assert_same_answers(strange, fitted(name))


@pytest.mark.parametrize("name", ALL)
def test_fit_does_not_change_the_rows(name):
    rows = X.copy()
    estimator = clone(ALL[name]).fit(rows, Y)
    answers(estimator, rows)
    assert_array_equal(rows, X)


@pytest.mark.parametrize("name", ALL)
def test_read_only_memory_maps_serve(name, tmp_path):
    np.save(tmp_path / "rows.npy", X)
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert_same_answers(clone(ALL[name]).fit(rows, Y), fitted(name), rows)


# ---------------------------------------------------------------------- accelerators


@cache
def fitted_on(name, device):
    return clone(ALL[name]).set_params(device=device).fit(X, Y)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MANIFOLDS)
def test_a_row_is_nearly_the_same_in_any_batch_on_an_accelerator(name, accelerator):
    manifold = fitted_on(name, accelerator)
    assert manifold.device_.startswith(accelerator.split(":")[0])
    for method in ("transform", "inverse_transform"):
        call = getattr(manifold, method)
        given = X if method == "transform" else manifold.transform(X)
        whole = call(given)
        bound = 1e-5 * whole.std(axis=0) + 1e-12
        for start, stop in [(0, 1), (85, 86), (171, 174), (7, len(X))]:
            assert (np.abs(call(given[start:stop]) - whole[start:stop]) <= bound).all()


@pytest.mark.gpu
@pytest.mark.parametrize("name", TRAINED)
def test_a_pickle_from_an_accelerator_serves_on_the_cpu(name, accelerator, monkeypatch):
    estimator = fitted_on(name, accelerator)
    content = pickle.dumps(estimator)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.warns(DeviceWarning):
        other = pickle.loads(content)
    assert other.device_ == "cpu"
    if name in GENERATORS:
        found, expected = (it.sample(50, random_state=0) for it in (other, estimator))
    else:
        found, expected = (it.transform(X) for it in (other, estimator))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.std())
    other.set_params(device="cpu").fit(X, Y)


@pytest.mark.gpu
@pytest.mark.parametrize("name", TRAINED)
def test_seeds_and_global_generators_on_an_accelerator(name, accelerator):
    module = getattr(torch, torch.device(accelerator).type)
    before = global_states(), module.get_rng_state()
    one, other = (
        clone(ALL[name]).set_params(device=accelerator).fit(X, Y) for _ in range(2)
    )
    for network in networks_of(one):
        ours, theirs = (getattr(it, network).state_dict() for it in (one, other))
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-4)
    if hasattr(one, "partial_fit"):
        clone(one).partial_fit(X, Y).partial_fit(X, Y)
    assert global_states() == before[0]
    assert torch.equal(module.get_rng_state(), before[1])
