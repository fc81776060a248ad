"""The estimators of manifoldgen come back from a file, a pickle and joblib."""

import contextlib
import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, KernelPCA
from sklearn.manifold import (
    MDS,
    TSNE,
    Isomap,
    LocallyLinearEmbedding,
    SpectralEmbedding,
)
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import MinMaxScaler, StandardScaler

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
    load,
    make_generative_pipeline,
    save,
)
from manifoldgen.exceptions import DeviceWarning
from manifoldgen.persistence import PersistenceError

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
    "ignore:covariance is not symmetric:RuntimeWarning",
)


class Encoder(torch.nn.Sequential):
    def __init__(self, n_in, n_out):
        super().__init__(
            torch.nn.Linear(n_in, 16),
            torch.nn.BatchNorm1d(16),
            torch.nn.Tanh(),
            torch.nn.Linear(16, n_out),
        )


class Decoder(torch.nn.Linear):
    pass


class Filters(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3))


def absolute_error(output, target):
    return (output - target).abs().mean()


def stop_never(row):
    return False


FOREIGN = [Encoder, Decoder, Filters, absolute_error, stop_never]


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def autoencoder(**parameters):
    return AutoencoderManifold(
        3, hidden_sizes=(16,), max_epochs=2, random_state=0, **parameters
    )


def own_autoencoder(**parameters):
    return AutoencoderManifold(
        3,
        encoder=Encoder,
        decoder=Decoder,
        loss=absolute_error,
        callbacks=(stop_never,),
        max_epochs=2,
        random_state=0,
        **parameters,
    )


def gan(**parameters):
    return LatentGAN(hidden_sizes=(16,), max_epochs=2, random_state=0, **parameters)


SHORT = {"max_epochs": 1, "random_state": 0}
TINY = {"hidden_sizes": (16,), **SHORT}


def tsne(**parameters):
    short = {"early_exaggeration_iter": 5, "n_iter": 5}
    return TSNEManifold(**short, **TINY, **parameters)


def umap(**parameters):
    return UMAPManifold(n_epochs=5, **TINY, **parameters)


ESTIMATORS = {
    "autoencoder": autoencoder(),
    "whitened": autoencoder(whiten=True, dropout=0.1),
    "random state object": autoencoder().set_params(
        random_state=np.random.RandomState(3)
    ),
    "conv": AutoencoderManifold(
        2,
        architecture="conv",
        channels=(4,),
        image_shape=(1, 8, 8),
        max_epochs=1,
        random_state=0,
    ),
    "own networks": own_autoencoder(),
    "variational": VAEManifold(3, average_decay=0.9, **TINY),
    "conditional variational": VAEManifold(conditional=True, **TINY),
    "adversarial": AdversarialAutoencoderManifold(
        critic_sizes=(8,), sharpening_weight=0.1, **TINY
    ),
    "gan": gan(),
    "image gan": ImageGAN(
        (1, 8, 8), channels=(4,), conditional=True, loss="hinge", **TINY
    ),
    "conditional gan": gan(conditional=True),
    "flow": LatentFlowMatching(n_steps=2, **TINY),
    "conditional flow": LatentFlowMatching(
        n_steps=2, reflow_epochs=1, conditional=True, **TINY
    ),
    "mixture": LatentMixture(random_state=0),
    "conditional mixture": LatentMixture(1, conditional=True, random_state=0),
    "spline flow": LatentNormalizingFlow(n_transforms=2, **TINY),
    "conditional spline flow": LatentNormalizingFlow(
        n_transforms=1, conditional=True, **TINY
    ),
    "pipeline": make_generative_pipeline(
        MinMaxScaler(), PCA(10), autoencoder(), gan(conditional=True)
    ),
    "joint": JointGenerator(
        autoencoder(whiten=True),
        gan(conditional=True),
        fine_tune_epochs=1,
        random_state=0,
    ),
    "augmenter": ImageAugmenter(["noise"], image_shape=(1, 8, 8), random_state=0),
    "random features": PretrainedFeatures(layers=("conv1", "conv2"), random_state=0),
    "own features": PretrainedFeatures(Filters, image_shape=(1, 8, 8), random_state=0),
    "classifier features": ClassifierFeatures(
        4, image_shape=(1, 8, 8), channels=(3,), layers=("conv1", "output"), **SHORT
    ),
    "self-supervised features": SelfSupervisedFeatures(
        4, image_shape=(1, 8, 8), channels=(3,), views=("same", "up"), **SHORT
    ),
    "mahalanobis generator": MahalanobisGenerator(
        3, feature_law=LatentMixture(2, conditional=True), conditional=True, **TINY
    ),
    "mahalanobis": MahalanobisScorer(random_state=0),
    "f law": MahalanobisScorer(covariance="empirical", random_state=0),
    "robust": MahalanobisScorer(
        covariance="robust", n_components=2, false_alarm_rate=0.1, random_state=0
    ),
    "classes in groups": MahalanobisScorer(
        covariance="ledoit_wolf",
        class_conditional=True,
        relative=True,
        groups=(24, 40),
        random_state=0,
    ),
    "low rank classes": MahalanobisScorer(
        covariance="low_rank",
        class_conditional=True,
        class_covariance="full",
        n_components=3,
        random_state=0,
    ),
    "score detector": ScoreOutlierDetector(random_state=0),
    "manifold scorer": ManifoldScorer(autoencoder(), random_state=0),
    "manifold scorer by PCA": ManifoldScorer(random_state=0),
    "t-sne": tsne(metric="cosine", supervised=True),
    "t-sne by network": tsne(placement="network"),
    "umap": umap(n_components=4),
    "umap by network": umap(placement="network", n_components=4),
    "neighbours": NeighborManifold(**TINY),
    "neighbours by own networks": NeighborManifold(
        3,
        objective="negative_sampling",
        encoder=Encoder,
        decoder=Decoder,
        max_epochs=1,
        random_state=0,
    ),
    "distilled": DistilledManifold(**TINY),
    "distilled isomap": DistilledManifold(
        Isomap(n_neighbors=8), max_reducer_samples=200, n_landmarks=20, **TINY
    ),
    "map pipeline": make_generative_pipeline(
        StandardScaler(),
        tsne(placement="network"),
        GaussianMixture(3, reg_covar=1e-3, random_state=0),
    ),
    "mixture pipeline": make_generative_pipeline(
        StandardScaler(),
        autoencoder(),
        GaussianMixture(3, reg_covar=1e-3, random_state=0),
    ),
}


@pytest.fixture(scope="module")
def fitted(digits):
    X, y = digits
    return {name: copy.deepcopy(e).fit(X, y) for name, e in ESTIMATORS.items()}


def outputs(estimator, X):
    """Return all that an estimator computes of X."""
    found = []
    if hasattr(estimator, "transform"):
        found += [estimator.transform(X)]
    if hasattr(estimator, "inverse_transform"):
        found += [estimator.inverse_transform(found[0])]
    if hasattr(estimator, "sample"):
        found += [estimator.sample(9, random_state=0)]
    for name in ("score_samples", "predict", "pvalue"):
        if hasattr(estimator, name):
            found += [getattr(estimator, name)(X)]
    for name in set(getattr(estimator, "_networks", ())) & set(vars(estimator)):
        network = getattr(estimator, name)
        found += [network.training, *(p.requires_grad for p in network.parameters())]
    if hasattr(estimator, "score"):
        found += [estimator.score(X)]
    return found


def by_file(estimator, path, include_data=False):
    include_data |= getattr(estimator, "placement", None) == "neighbors"
    save(estimator, path, include_data=include_data)
    return load(path, trusted=FOREIGN)


def by_joblib(estimator, path):
    joblib.dump(estimator, path)
    return joblib.load(path)


def by_pickle(estimator, path):
    return pickle.loads(pickle.dumps(estimator))


@pytest.mark.parametrize("way", [by_file, by_joblib, by_pickle])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_copy_computes_the_same_bits(name, way, fitted, digits, path):
    X = digits[0][:50]
    estimator = fitted[name]
    again = way(estimator, path)
    assert type(again) is type(estimator)
    dropped = {"_reservoir", "_anchors"} if way is by_file else set()
    assert vars(again).keys() == vars(estimator).keys() - dropped
    for expected, got in zip(outputs(estimator, X), outputs(again, X), strict=True):
        np.testing.assert_array_equal(got, expected)
        assert np.asarray(got).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_loaded_estimator_is_as_good_as_the_saved_one(name, fitted, digits, path):
    """It can be cloned, copied, pickled, and fitted again, with the same result."""
    X, y = digits[0][:300], digits[1][:300]
    again = by_file(fitted[name], path)
    pickle.loads(pickle.dumps(clone(again)))
    expected = outputs(copy.deepcopy(fitted[name]).fit(X, y), X[:9])
    for want, got in zip(expected, outputs(again.fit(X, y), X[:9]), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["own networks", "pipeline"])
def test_unfitted_estimators_fit_as_the_saved_ones(name, fitted, digits, path):
    again = by_file(ESTIMATORS[name], path)
    again.fit(*digits)
    for expected, got in zip(
        outputs(fitted[name], digits[0][:9]), outputs(again, digits[0][:9]), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_partial_fit_goes_on_with_the_moments_of_the_optimizer(digits, path):
    X = digits[0][:300]
    straight = autoencoder().partial_fit(X).partial_fit(X)
    again = by_file(autoencoder().partial_fit(X), path).partial_fit(X)
    np.testing.assert_array_equal(again.transform(X), straight.transform(X))
    assert again.history_.rows[0]["epoch"] == 1
    assert len(again.history_.rows) == 2


@pytest.mark.parametrize("make", [autoencoder, own_autoencoder, gan])
def test_warm_start_goes_on_from_the_stored_weights(make, digits, path):
    X = digits[0][:300]
    estimator = make(warm_start=True).fit(X)
    again = by_file(estimator, path)
    for want, got in zip(
        outputs(estimator.fit(X), X[:9]), outputs(again.fit(X), X[:9]), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_images_and_frames_keep_their_layout(digits, path):
    images = digits[0].reshape(-1, 8, 8).astype(np.uint8)[:100]
    manifold = by_file(autoencoder().fit(images), path)
    Z = manifold.transform(images)
    assert manifold.inverse_transform(Z).shape == images.shape
    frame = pd.DataFrame(digits[0][:100], columns=[f"pixel {i}" for i in range(64)])
    pipeline = make_generative_pipeline(PCA(4), gan()).fit(frame)
    expected = pipeline.sample(5, random_state=0)
    pd.testing.assert_frame_equal(
        by_file(pipeline, path).sample(5, random_state=0), expected
    )


@pytest.mark.parametrize("labels", ["str", "int8", "object", "float"])
def test_labels_keep_their_kind(labels, digits, path):
    X, y = digits[0][:200], (digits[1][:200] % 2)
    y = y.astype(str).astype(object) if labels == "object" else y.astype(labels)
    model = gan(conditional=True).fit(X, y)
    again = by_file(model, path)
    assert again.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(
        again.sample(4, y=y[0], random_state=0), model.sample(4, y=y[0], random_state=0)
    )


def test_networks_of_the_user_need_trust(fitted, path):
    save(fitted["own networks"], path)
    with pytest.raises(PersistenceError, match=r"trusted=\[.*:Encoder.*:absolute_err"):
        load(path)


@pytest.mark.parametrize("include_data", [True, False])
def test_a_scorer_streams_on_exactly_where_its_rows_are_stored(
    include_data, digits, path
):
    X = digits[0][:300]
    scorer = MahalanobisScorer(random_state=0).partial_fit(X[:200])
    save(scorer, path, include_data=include_data)
    again = load(path)
    warned = pytest.warns(UserWarning, match="rows were not stored")
    with contextlib.nullcontext() if include_data else warned:
        again.partial_fit(X[200:])
    scorer.partial_fit(X[200:])
    np.testing.assert_array_equal(again.mahalanobis(X), scorer.mahalanobis(X))
    assert (again.offset_ == scorer.offset_) == include_data


WITHOUT_ROWS = ["autoencoder", "gan", "pipeline", "mahalanobis", "manifold scorer"]
WITHOUT_ROWS += ["f law", "t-sne by network", "umap by network", "neighbours"]
WITHOUT_ROWS += ["distilled isomap"]


@pytest.mark.parametrize("name", WITHOUT_ROWS)
def test_no_training_row_is_in_the_file(name, digits, path):
    X = digits[0][:200] + np.random.default_rng(0).normal(size=(200, 64))
    estimator = copy.deepcopy(ESTIMATORS[name]).fit(X, digits[1][:200])
    save(estimator, path)
    data = path.read_bytes()
    scaler = estimator[0] if name == "pipeline" else StandardScaler()
    latents = scaler.fit(X).transform(X)
    for row in np.concatenate([X[:, :3], latents[:, :3]]):
        for kind in (np.float64, np.float32, np.float16):
            assert row.astype(kind).tobytes() not in data


@pytest.mark.parametrize("make", [tsne, umap])
def test_a_map_that_places_by_rows_needs_them_in_the_file(make, digits, path):
    manifold = make().fit(digits[0][:60])
    for estimator in (manifold, make_generative_pipeline(StandardScaler(), manifold)):
        with pytest.raises(
            PersistenceError, match=r"_index.*include_data=True.*placement='network'"
        ):
            save(estimator, path)
        assert not path.exists()
    again = by_file(make_generative_pipeline(StandardScaler(), manifold), path, True)
    np.testing.assert_array_equal(again[1].embedding_, manifold.embedding_)


def test_images_of_bytes_are_placed_among_those_of_the_file(digits, path):
    images = (digits[0] * 15).astype(np.uint8).reshape(-1, 8, 8)
    manifold = tsne().fit(images[:100])
    again = by_file(manifold, path)
    np.testing.assert_array_equal(again.transform(images[:100]), manifold.embedding_)
    for want, got in zip(
        outputs(manifold, images[:150]), outputs(again, images[:150]), strict=True
    ):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("include_data", [True, False])
def test_a_map_takes_new_rows_in_where_its_anchors_are_stored(
    include_data, digits, path
):
    X = digits[0]
    manifold = NeighborManifold(**TINY).fit(X[:200])
    again = by_file(manifold, path, include_data)
    np.testing.assert_array_equal(again.transform(X), manifold.transform(X))
    if not include_data:
        with pytest.raises(ValueError, match=r"saved without .*include_data=True"):
            again.partial_fit(X[200:230])
        return
    manifold.partial_fit(X[200:230])
    again.partial_fit(X[200:230])
    for want, got in zip(outputs(manifold, X), outputs(again, X), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "reducer",
    [
        Isomap(n_neighbors=3),
        LocallyLinearEmbedding(n_components=3),
        SpectralEmbedding(affinity="rbf"),
        MDS(n_init=1),
        TSNE(perplexity=7),
        KernelPCA(2, kernel="rbf"),
    ],
    ids=lambda reducer: type(reducer).__name__,
)
def test_a_reducer_comes_back_as_a_parameter(reducer, path):
    again = by_file(DistilledManifold(reducer), path)
    assert type(again.reducer) is type(reducer)
    assert again.reducer.get_params() == reducer.get_params()


def test_a_fitted_reducer_says_what_cannot_be_stored(digits, path):
    reducer = Isomap().fit(digits[0][:50])
    with pytest.raises(PersistenceError, match=r"DistilledManifold\.reducer\.\w+_ can"):
        save(DistilledManifold(reducer), path)
    assert not path.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without")
@pytest.mark.parametrize("way", [by_file, by_pickle])
@pytest.mark.parametrize("name", ["autoencoder", "gan", "t-sne", "neighbours"])
def test_fitted_on_a_gpu_loads_without(name, way, fitted, digits, path):
    estimator = copy.deepcopy(fitted[name])
    estimator.device_ = "cuda:0"
    with pytest.warns(DeviceWarning, match="cuda:0"):
        again = way(estimator, path)
    assert again.device_ == "cpu"
    estimator.device_ = "cpu"
    X = digits[0][:20]
    for want, got in zip(outputs(estimator, X), outputs(again, X), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["autoencoder", "gan", "t-sne", "neighbours"])
def test_fitted_on_a_gpu_loads_on_either_device(name, digits, path, accelerator):
    estimator = copy.deepcopy(ESTIMATORS[name]).set_params(device=accelerator)
    estimator.fit(digits[0])
    save(estimator, path)
    X = digits[0][:20]
    for device in (None, accelerator, "cpu"):
        again = load(path, device=device)
        parameter = next(getattr(again, again._networks[0]).parameters())
        assert parameter.device.type == (device or accelerator)
        for want, got in zip(outputs(estimator, X), outputs(again, X), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_every_public_estimator_can_be_saved_unfitted(path):
    import manifoldgen

    found = [getattr(manifoldgen, name) for name in manifoldgen.__all__]
    classes = [c for c in found if hasattr(c, "get_params") and hasattr(c, "fit")]
    assert AutoencoderManifold in classes
    for cls in classes:
        estimator = cls([("a", PCA())]) if "Pipeline" in cls.__name__ else cls()
        assert str(by_file(estimator, path)) == str(estimator)
