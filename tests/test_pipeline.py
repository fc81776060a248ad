"""A Pipeline that generates, beside the stock one that it must otherwise equal."""

import pickle
import random
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA, KernelPCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from manifoldgen import (
    AutoencoderManifold,
    GenerativePipeline,
    LatentGAN,
    call_last,
    generation_scorer,
    make_generative_pipeline,
    one_standard_error,
    sample_from,
)
from manifoldgen.pipeline import drawable_labels

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_DIGITS, Y_DIGITS = (array[:300] for array in load_digits(return_X_y=True))
BLOBS = np.random.RandomState(0).randn(90, 2) + np.repeat([[0], [30], [60]], 30, axis=0)


class LabelledRows(DensityMixin, BaseEstimator):
    """Draws training rows of the wanted labels: a stand-in that conditions on y."""

    def fit(self, X, y):
        self.X_, self.y_ = np.asarray(X), np.asarray(y)
        return self

    def sample(self, n_samples=None, *, y=None, random_state=None):
        labels = random_state.choice(self.y_, n_samples) if y is None else y
        labels = np.broadcast_to(labels, (n_samples,))
        picked = [random_state.choice(np.flatnonzero(self.y_ == k)) for k in labels]
        return self.X_[picked]


class GlobalDice(BaseEstimator):
    """Takes no random_state anywhere and uses every global generator."""

    def fit(self, X, y=None):
        self.n_features_ = X.shape[1]
        return self

    def sample(self, n_samples):
        noise = random.random() + torch.rand(1).item()
        return noise + np.random.rand(n_samples, self.n_features_)  # noqa: NPY002


class MeanEncoder(TransformerMixin, BaseEstimator):
    """A manifold without `sample`, with a `score` of its own."""

    def fit(self, X, y=None):
        self.width_ = X.shape[1]
        return self

    def transform(self, X):
        return X.mean(axis=1, keepdims=True)

    def inverse_transform(self, Z):
        return np.repeat(Z, self.width_, axis=1)

    def score(self, X, y=None):
        return float(X.mean())


class OnlyTwo(GlobalDice):
    def sample(self, n_samples):
        return np.zeros((2, self.n_features_))


def assert_streams_untouched(function):
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    result = function()
    assert random.getstate() == before[0]
    assert_array_equal(np.random.get_state()[1], before[1][1])  # noqa: NPY002
    assert np.random.get_state()[2] == before[1][2]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    return result


@pytest.fixture(scope="module")
def iris_pipe():
    generator = GaussianMixture(3, random_state=0)
    return make_generative_pipeline(StandardScaler(), PCA(2), generator).fit(X_IRIS)


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize("kind", [GenerativePipeline, Pipeline])
def test_a_sample_is_a_draw_of_the_last_step_inverted(kind):
    steps = [("scaler", StandardScaler()), ("pca", PCA(2)), ("kde", KernelDensity())]
    pipe = kind(steps).fit(X_IRIS)
    drawn = pipe["kde"].sample(20, random_state=7)
    expected = pipe["scaler"].inverse_transform(pipe["pca"].inverse_transform(drawn))
    assert_array_equal(sample_from(pipe, 20, random_state=7), expected)
    assert_array_equal(sample_from(pipe["kde"], 20, random_state=7), drawn)
    if kind is GenerativePipeline:
        assert_array_equal(pipe.sample(20, random_state=7), expected)


@pytest.mark.parametrize("cls", [GaussianMixture, BayesianGaussianMixture])
def test_mixture_rows_come_shuffled_and_without_labels(cls):
    mixture = cls(n_components=3, random_state=0).fit(BLOBS)
    pipe = make_generative_pipeline("passthrough", mixture)
    rows = pipe.sample(300, random_state=1)
    expected = cls(n_components=3, random_state=0).fit(BLOBS)
    expected.random_state = np.random.RandomState(1)
    grouped, _ = expected.sample(300)
    assert_array_equal(np.sort(rows, axis=0), np.sort(grouped, axis=0))
    blob = np.round(rows[:, 0] / 30)
    # Three groups change label twice; in random order about 2 of 3 neighbours differ.
    assert np.count_nonzero(np.diff(blob)) > 150
    assert mixture.random_state == 0


def test_seeds_are_honoured_and_none_draws_afresh(iris_pipe):
    first = iris_pipe.sample(10, random_state=3)
    assert_array_equal(first, iris_pipe.sample(10, random_state=3))
    assert_array_equal(first, sample_from(iris_pipe, 10, random_state=3))
    assert not np.array_equal(first, iris_pipe.sample(10, random_state=4))
    # The mixture was fitted with random_state=0, which must not repeat the draw.
    assert not np.array_equal(iris_pipe.sample(10), iris_pipe.sample(10))
    stream = np.random.RandomState(3)
    assert_array_equal(first, iris_pipe.sample(10, random_state=stream))
    assert not np.array_equal(first, iris_pipe.sample(10, random_state=stream))


@pytest.mark.parametrize(
    "generator", [GaussianMixture(2), KernelDensity(), GlobalDice()], ids=repr
)
@pytest.mark.parametrize("seed", [0, None])
def test_global_generators_are_left_alone(generator, seed):
    pipe = make_generative_pipeline(StandardScaler(), clone(generator)).fit(X_IRIS)
    one, two = (
        assert_streams_untouched(lambda: pipe.sample(5, random_state=seed))
        for _ in range(2)
    )
    assert np.array_equal(one, two) == (seed == 0)


def test_counts_are_exact(iris_pipe):
    for n_samples in (1, 2, 7, 100, np.int64(13)):
        assert iris_pipe.sample(n_samples, random_state=0).shape == (n_samples, 4)
    assert iris_pipe.sample().shape == (1, 4)
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        iris_pipe.sample(0)
    with pytest.raises(TypeError, match="n_samples must be an int"):
        iris_pipe.sample(2.5)
    short = make_generative_pipeline(OnlyTwo()).fit(X_IRIS)
    with pytest.raises(RuntimeError, match=r"'onlytwo' \(OnlyTwo\) drew 2 rows where"):
        short.sample(3)


def test_labels_reach_a_last_step_that_takes_them():
    pipe = make_generative_pipeline(StandardScaler(), LabelledRows())
    names = np.array(["setosa", "versicolor", "virginica"])[Y_IRIS]
    pipe.fit(X_IRIS, names)
    rows_of = {name: X_IRIS[names == name] for name in np.unique(names)}

    def labelled(rows, labels):
        return all(
            np.isclose(rows_of[label], row).all(axis=1).any()
            for row, label in zip(rows, labels, strict=True)
        )

    wanted = ["virginica", "setosa", "setosa"]
    assert labelled(pipe.sample(y=wanted), wanted)
    assert labelled(pipe.sample(4, y="versicolor"), ["versicolor"] * 4)
    assert pipe.sample(y="setosa").shape == (1, 4)
    assert pipe.sample(5).shape == (5, 4)


@pytest.mark.parametrize("generator", [GaussianMixture(), KernelDensity()])
def test_labels_of_an_unconditional_model_are_refused(generator):
    pipe = make_generative_pipeline(StandardScaler(), clone(generator))
    pipe.fit(X_IRIS, Y_IRIS)
    name = type(generator).__name__
    with pytest.raises(ValueError, match=rf"{name}.*LatentGAN\(conditional=True\)"):
        pipe.sample(3, y=1)


def test_a_kernel_that_cannot_draw_is_explained():
    pipe = make_generative_pipeline(KernelDensity(kernel="linear")).fit(X_IRIS)
    with pytest.raises(NotImplementedError, match="kernel='gaussian' or 'tophat'"):
        pipe.sample()


# ---------------------------------------------------------------- steps

NOT_INVERTIBLE = {
    "columns": (ColumnTransformer([("all", StandardScaler(), [0, 1])]), "no method"),
    "union": (FeatureUnion([("pca", PCA(2))]), "no method inverse_transform"),
    "tsne": (TSNE(), "no method inverse_transform"),
    "log": (FunctionTransformer(np.log1p), "Set inverse_func"),
    "kernel": (KernelPCA(2), "fit_inverse_transform=True"),
}


@pytest.mark.parametrize("name", NOT_INVERTIBLE)
def test_a_step_without_way_back_is_named(name):
    step, reason = NOT_INVERTIBLE[name]
    steps = [("scaler", StandardScaler()), (name, step), ("gmm", GaussianMixture())]
    match = rf"step '{name}' \({type(step).__name__}\) cannot be inverted: .*{reason}"
    pipe = GenerativePipeline(steps)
    assert not hasattr(pipe, "sample")
    assert not hasattr(pipe, "score")
    with pytest.raises(AttributeError, match=match):
        pipe.sample()
    with pytest.raises(AttributeError, match=match):
        sample_from(Pipeline(steps))
    nested = GenerativePipeline([("outer", Pipeline(steps[:2])), steps[2]])
    with pytest.raises(AttributeError, match=rf"step 'outer__{name}'"):
        nested.sample()


def test_a_pipeline_with_a_step_without_way_back_still_fits():
    union = FeatureUnion([("pca", PCA(2))])
    pipe = make_generative_pipeline(union, GaussianMixture(2, random_state=0))
    stock = make_pipeline(union, GaussianMixture(2, random_state=0)).fit(X_IRIS)
    assert_array_equal(pipe.fit(X_IRIS).predict(X_IRIS), stock.predict(X_IRIS))


@pytest.mark.parametrize("last", [PCA(2), "passthrough", None, LogisticRegression()])
def test_a_last_step_that_does_not_draw_is_named(last):
    pipe = GenerativePipeline([("scaler", StandardScaler()), ("last", last)])
    named = "scaler" if last in ("passthrough", None) else "last"
    match = rf"last step, '{named}' .*has none. LatentGAN .*GaussianMixture.*KernelDe"
    with pytest.raises(AttributeError, match=match):
        pipe.sample()
    with pytest.raises(AttributeError, match="the last step is missing"):
        GenerativePipeline([("nothing", None)]).sample()


def test_passthrough_steps_and_identities_are_skipped():
    steps = [("none", None), ("same", FunctionTransformer()), ("kde", KernelDensity())]
    pipe = GenerativePipeline([*steps[:2], ("skip", "passthrough"), steps[2]])
    pipe.fit(X_IRIS)
    expected = pipe["kde"].sample(5, random_state=0)
    assert_array_equal(pipe.sample(5, random_state=0), expected)


def test_nested_pipelines_generate():
    inner = make_pipeline(PCA(3), KernelDensity())
    pipe = make_generative_pipeline(make_pipeline(MinMaxScaler()), inner).fit(X_IRIS)
    flat = make_generative_pipeline(MinMaxScaler(), PCA(3), KernelDensity())
    flat.fit(X_IRIS)
    assert_array_equal(pipe.sample(9, random_state=0), flat.sample(9, random_state=0))


def test_a_function_with_its_inverse_generates_in_its_range():
    positive = FunctionTransformer(np.log, inverse_func=np.exp)
    pipe = make_generative_pipeline(positive, KernelDensity(bandwidth=2.0))
    assert (pipe.fit(X_IRIS).sample(500, random_state=0) > 0).all()


def test_an_error_of_an_inverse_names_the_step():
    class Broken(MeanEncoder):
        def inverse_transform(self, Z):
            raise ValueError("no")

    pipe = make_generative_pipeline(Broken(), KernelDensity()).fit(X_IRIS)
    with pytest.raises(ValueError, match="no") as caught:
        pipe.sample()
    assert caught.value.__notes__ == ["While inverting step 'broken' (Broken)."]


def test_umap_is_served_with_a_warning():
    UMAP = type("UMAP", (MeanEncoder,), {"__module__": "umap.umap_"})
    pipe = make_generative_pipeline(UMAP(), KernelDensity()).fit(X_IRIS)
    with pytest.warns(UserWarning, match=r"'umap' \(UMAP\) solves an optimisation"):
        assert pipe.sample(3).shape == (3, 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_real_umap_generates():
    umap = pytest.importorskip("umap")
    embedding = umap.UMAP(n_components=2, random_state=0)
    pipe = make_generative_pipeline(StandardScaler(), embedding, GaussianMixture(3))
    pipe.fit(X_IRIS)
    with pytest.warns(UserWarning, match="solves an optimisation"):
        rows = assert_streams_untouched(lambda: pipe.sample(30, random_state=0))
    assert rows.shape == (30, 4)
    assert cdist(rows, X_IRIS).min(axis=1).max() < 2.0


# ---------------------------------------------------------------- containers


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize("method", ["fit", "fit_predict"])
def test_a_frame_in_gives_a_frame_out(library, method):
    names = load_iris().feature_names
    frame = library.DataFrame(dict(zip(names, X_IRIS.T, strict=True)))
    mixture = GaussianMixture(3, random_state=0)
    pipe = make_generative_pipeline(StandardScaler(), mixture)
    getattr(pipe, method)(frame)
    drawn = pipe.sample(6, random_state=0)
    assert type(drawn) is type(frame)
    assert list(drawn.columns) == names
    rows = clone(pipe).fit(X_IRIS).sample(6, random_state=0)
    assert_allclose(drawn.to_numpy(), rows, rtol=1e-12)
    on_rows = clone(pipe).fit(X_IRIS).score(X_IRIS)
    assert pipe.score(frame) == pytest.approx(on_rows, rel=1e-9)
    assert isinstance(clone(pipe).fit(X_IRIS).sample(), np.ndarray)


def test_a_refit_on_an_array_forgets_the_frame():
    pipe = make_generative_pipeline(KernelDensity()).fit(pd.DataFrame(X_IRIS))
    assert isinstance(pipe.sample(), pd.DataFrame)
    assert isinstance(pipe.fit(X_IRIS).sample(), np.ndarray)


def test_images_come_back_as_the_first_step_gives_them():
    images = load_digits().images[:200]
    flatten = FunctionTransformer(
        lambda X: X.reshape(len(X), -1), inverse_func=lambda X: X.reshape(-1, 8, 8)
    )
    pipe = make_generative_pipeline(flatten, PCA(5), GaussianMixture(random_state=0))
    assert pipe.fit(images).sample(4).shape == (4, 8, 8)
    rows = make_generative_pipeline(PCA(5), GaussianMixture(random_state=0))
    flat = images.reshape(200, -1)
    assert pipe.score(images) == pytest.approx(rows.fit(flat).score(flat), rel=1e-9)


def test_categories_come_back_as_categories():
    frame = pd.DataFrame({"kind": np.array(["a", "b", "c"])[Y_IRIS]})
    encoder = OneHotEncoder(sparse_output=False)
    pipe = make_generative_pipeline(encoder, KernelDensity(bandwidth=0.1)).fit(frame)
    drawn = pipe.sample(200, random_state=0)
    assert set(drawn["kind"]) == {"a", "b", "c"}
    with pytest.raises(ValueError, match="X was not all numbers"):
        pipe.score(frame)


# ---------------------------------------------------------------- score


def test_score_is_minus_the_energy_distance_in_training_units(iris_pipe):
    train, test = X_IRIS[::2] * [1, 10, 100, 1000], X_IRIS[1::2] * [1, 10, 100, 1000]
    pipe = clone(iris_pipe).fit(train)
    scale = train.std(axis=0)
    assert_allclose(pipe.scale_, scale, rtol=1e-12)
    a, b = test / scale, pipe.sample(len(test), random_state=0) / scale
    energy = 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()
    assert pipe.score(test) == pytest.approx(-energy, rel=1e-9)
    assert pipe.score(test) == pipe.score(test, Y_IRIS[1::2])


def test_score_does_not_depend_on_units(iris_pipe):
    pipe = clone(iris_pipe).fit(X_IRIS)
    scaled = clone(iris_pipe).fit(1000.0 * X_IRIS + 5.0)
    assert scaled.score(1000.0 * X_IRIS + 5.0) == pytest.approx(pipe.score(X_IRIS))


def test_score_counts_constant_columns_as_they_are():
    X = np.column_stack([X_IRIS, np.full(150, 0.1)])
    pipe = make_generative_pipeline(PCA(2), GaussianMixture(random_state=0)).fit(X)
    assert pipe.scale_[-1] == 1.0
    moved = X + np.array([0, 0, 0, 0, 3.0])
    assert pipe.score(moved) < pipe.score(X) - 3.0


def test_score_prefers_the_better_encoder_and_density():
    X, _ = load_digits(return_X_y=True)
    train, test = X[::2], X[1::2]
    scores = [
        make_generative_pipeline(PCA(n), GaussianMixture(k, random_state=0))
        .fit(train)
        .score(test)
        for n, k in [(2, 1), (20, 1), (20, 10)]
    ]
    assert scores[0] < scores[1] < scores[2] < 0


def test_score_checks_its_rows(iris_pipe):
    with pytest.raises(ValueError, match=r"X has 3 features, but .* expecting 4"):
        iris_pipe.score(X_IRIS[:, :3])
    with pytest.raises(ValueError, match=r"X has 6 features, but .* expecting 4"):
        iris_pipe.score(np.zeros((5, 2, 3)))
    with pytest.raises(TypeError, match="only X and y"):
        iris_pipe.score(X_IRIS, sample_weight=np.ones(150))
    with pytest.raises(NotFittedError):
        clone(iris_pipe).score(X_IRIS)
    frame = pd.DataFrame(X_IRIS, columns=list("abcd"))
    with pytest.raises(ValueError, match="feature names should match"):
        clone(iris_pipe).fit(frame).score(frame.rename(columns={"a": "e"}))


def test_score_needs_a_fit_of_its_own(iris_pipe):
    elsewhere = GenerativePipeline(iris_pipe.steps)
    assert elsewhere.sample(3).shape == (3, 4)
    with pytest.raises(ValueError, match="Call fit of this pipeline"):
        elsewhere.score(X_IRIS)


def test_sparse_rows_generate_dense_ones():
    X = csr_array(np.maximum(X_IRIS - 3.0, 0.0))
    pipe = make_generative_pipeline(TruncatedSVD(2), GaussianMixture()).fit(X)
    assert pipe.sample(3).shape == (3, 4)
    with pytest.raises(TypeError, match="toarray"):
        pipe.score(X)
    assert pipe.score(X.toarray()) < 0


def test_score_samples_is_the_density_in_latent_space(iris_pipe):
    stock = Pipeline(iris_pipe.steps)
    assert_array_equal(iris_pipe.score_samples(X_IRIS), stock.score_samples(X_IRIS))


# ---------------------------------------------------------------- a stock Pipeline


EXCUSED = {
    "check_dont_overwrite_parameters": "Pipeline replaces its steps when it fits them",
    "check_estimators_overwrite_params": "Pipeline fits the steps that it was given",
}


@parametrize_with_checks(
    [
        GenerativePipeline(
            [
                ("scaler", StandardScaler()),
                # k-means, the default start, has no array API
                ("gmm", GaussianMixture(init_params="random_from_data")),
            ]
        )
    ],
    expected_failed_checks=lambda estimator: EXCUSED,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:Skipping check")
def test_scikit_learn_runs_all_its_checks():
    steps = [("scaler", StandardScaler()), ("gmm", GaussianMixture())]
    counts = [
        len(check_estimator(kind(steps), on_fail=None))
        for kind in (Pipeline, GenerativePipeline)
    ]
    assert counts[0] == counts[1] >= 41


LASTS = [
    PCA(2),
    MeanEncoder(),
    LogisticRegression(),
    IsolationForest(n_estimators=10, random_state=0),
    GaussianMixture(2, random_state=0),
    KernelDensity(),
    "passthrough",
]
STOCK_METHODS = (
    "transform fit_transform inverse_transform predict fit_predict predict_proba "
    "predict_log_proba decision_function score_samples score"
).split()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("last", LASTS, ids=repr)
@pytest.mark.parametrize("method", STOCK_METHODS)
def test_methods_are_those_of_the_stock_class(last, method):
    stock, ours = (
        kind([("scaler", StandardScaler()), ("last", clone(last, safe=False))])
        for kind in (Pipeline, GenerativePipeline)
    )
    assert hasattr(ours, method) == hasattr(stock, method)
    if not hasattr(stock, method) or (method == "score" and hasattr(ours, "sample")):
        return
    for pipe in (stock, ours):
        pipe.fit(X_IRIS, Y_IRIS)
    X = stock.transform(X_IRIS) if method == "inverse_transform" else X_IRIS
    labels = (Y_IRIS,) if method in ("score", "fit_transform", "fit_predict") else ()
    expected = getattr(stock, method)(X, *labels)
    assert_array_equal(getattr(ours, method)(X, *labels), expected)


def test_text_is_classified_as_by_the_stock_class():
    texts, labels = ["a dog", "a cat", "two dogs", "two cats"], [0, 1, 0, 1]
    pipe = make_generative_pipeline(CountVectorizer(), LogisticRegression())
    assert pipe.fit(iter(texts), labels).predict(texts).shape == (4,)


def test_slices_share_steps_and_layout(iris_pipe):
    head, tail, whole = iris_pipe[:-1], iris_pipe[1:], iris_pipe[:]
    assert type(head) is GenerativePipeline
    assert head["pca"] is iris_pipe["pca"]
    assert head.transform(X_IRIS).shape == (150, 2)
    assert not hasattr(head, "sample")
    assert head.score(X_IRIS) == Pipeline(head.steps).score(X_IRIS)
    assert_array_equal(
        iris_pipe["standardscaler"].inverse_transform(tail.sample(3, random_state=0)),
        iris_pipe.sample(3, random_state=0),
    )
    assert whole.score(X_IRIS) == iris_pipe.score(X_IRIS)
    assert clone(iris_pipe)[:1].steps[0][0] == "standardscaler"


@pytest.mark.parametrize("method", ["fit", "fit_predict"])
def test_memory_caches_transformers(tmp_path, method):
    plain = make_generative_pipeline(StandardScaler(), PCA(2), GaussianMixture(2))
    plain.set_params(gaussianmixture__random_state=0)
    cached = clone(plain).set_params(memory=str(tmp_path))
    first = getattr(cached, method)(X_IRIS)
    assert cached.sample(3, random_state=0).shape == (3, 4)
    again = clone(cached)
    assert_array_equal(getattr(again, method)(X_IRIS) is again, first is cached)
    plain.fit(X_IRIS)
    for pipe in (cached, again):
        assert_array_equal(
            pipe.sample(9, random_state=0), plain.sample(9, random_state=0)
        )
        assert pipe.score(X_IRIS) == plain.score(X_IRIS)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_reaches_the_steps(library):
    pipe = make_generative_pipeline(StandardScaler(), PCA(2), KernelDensity())
    pipe.set_output(transform=library).fit(X_IRIS)
    assert type(pipe[:-1].transform(X_IRIS)).__module__.split(".")[0] == library
    assert isinstance(pipe.sample(3), np.ndarray)
    assert pipe.score(X_IRIS) < 0


def test_html_clone_and_pickle(iris_pipe):
    html = iris_pipe._repr_html_()
    assert "GenerativePipeline" in html
    assert "GaussianMixture" in html
    copied = clone(iris_pipe)
    assert type(copied) is GenerativePipeline
    with pytest.raises(NotFittedError):
        copied.sample()
    restored = pickle.loads(pickle.dumps(iris_pipe))
    assert restored.score(X_IRIS) == iris_pipe.score(X_IRIS)
    assert_array_equal(
        restored.sample(5, random_state=0), iris_pipe.sample(5, random_state=0)
    )


def test_the_factory_names_steps_like_scikit_learn():
    steps = StandardScaler(), PCA(2), PCA(1), KernelDensity()
    pipe = make_generative_pipeline(*steps, memory="here", verbose=True)
    assert pipe.steps == make_pipeline(*steps).steps
    assert (pipe.memory, pipe.verbose) == ("here", True)


def test_grid_search_uses_the_score_in_data_space(iris_pipe):
    grid = {"pca__n_components": [1, 3], "gaussianmixture__n_components": [1, 3]}
    search = GridSearchCV(clone(iris_pipe), grid, cv=3).fit(X_IRIS, Y_IRIS)
    scores = search.cv_results_["mean_test_score"]
    assert (scores < 0).all()
    assert search.best_index_ == scores.argmax()
    assert search.best_estimator_.sample(7).shape == (7, 4)


def test_labels_are_passed_to_the_steps_and_ignored_by_score():
    pipe = make_generative_pipeline(StandardScaler(), LabelledRows())
    assert pipe.fit(X_IRIS, Y_IRIS).score(X_IRIS, Y_IRIS) <= 0
    assert_array_equal(pipe["labelledrows"].y_, Y_IRIS)


# ---------------------------------------------------------------- call_last


@pytest.mark.parametrize("kind", [Pipeline, GenerativePipeline])
def test_call_last_transforms_by_all_but_the_last(kind):
    steps = [("scaler", StandardScaler()), ("none", None), ("pca", PCA(2))]
    pipe = kind([*steps, ("scorer", EmpiricalCovariance())]).fit(X_IRIS)
    expected = pipe["scorer"].mahalanobis(pipe[:-1].transform(X_IRIS))
    assert_array_equal(call_last(pipe, "mahalanobis", X_IRIS), expected)
    last = pipe["scorer"]
    assert_array_equal(
        call_last(last, "mahalanobis", X_IRIS[:, :2]), last.mahalanobis(X_IRIS[:, :2])
    )


def test_call_last_hands_on_arguments():
    pipe = make_pipeline(StandardScaler(), PCA(2)).fit(X_IRIS)
    assert call_last(pipe, "score", X_IRIS, None) == pipe.score(X_IRIS)
    assert call_last(pipe, "fit_transform", X_IRIS, y=Y_IRIS).shape == (150, 2)


def test_call_last_asks_the_best_of_a_search():
    pipe = make_pipeline(StandardScaler(), EmpiricalCovariance())
    search = GridSearchCV(pipe, {"empiricalcovariance__assume_centered": [False]})
    search.fit(X_IRIS)
    assert_array_equal(
        call_last(search, "mahalanobis", X_IRIS),
        call_last(pipe.fit(X_IRIS), "mahalanobis", X_IRIS),
    )


def test_call_last_explains_what_is_missing():
    pipe = make_pipeline(StandardScaler(), PCA(2))
    with pytest.raises(AttributeError, match=r"'pca' \(PCA\), has no method 'pvalue'"):
        call_last(pipe, "pvalue", X_IRIS)
    with pytest.raises(AttributeError, match="has no method 'components'"):
        call_last(pipe, "components", X_IRIS)
    with pytest.raises(AttributeError, match=r"\(PCA\), has no method 'pvalue'"):
        call_last(PCA(2), "pvalue", X_IRIS)
    with pytest.raises(AttributeError, match="has no step"):
        call_last(Pipeline([("none", None)]), "pvalue", X_IRIS)
    with pytest.raises(NotFittedError):
        call_last(pipe, "get_covariance", X_IRIS)


# ---------------------------------------------------------------- our own steps


@pytest.fixture(scope="module")
def own_pipe():
    pipe = make_generative_pipeline(
        MinMaxScaler(),
        PCA(16, random_state=0),
        AutoencoderManifold(
            n_components=4, hidden_sizes=(16,), max_epochs=2, random_state=0
        ),
        LatentGAN(hidden_sizes=(16,), max_epochs=2, random_state=0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two epochs are too few, and say so
        return pipe.fit(X_DIGITS)


@pytest.fixture(scope="module")
def labelled_pipe():
    gan = LatentGAN(conditional=True, max_epochs=2, hidden_sizes=(16,), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_generative_pipeline(PCA(4), gan).fit(X_DIGITS, Y_DIGITS)


def test_latent_gan_draws_and_the_steps_lead_back(own_pipe):
    rows = assert_streams_untouched(lambda: own_pipe.sample(9, random_state=0))
    latents = own_pipe[-1].sample(9, random_state=0)
    assert_array_equal(rows, own_pipe[:-1].inverse_transform(latents))
    assert rows.shape == (9, 64)
    assert own_pipe.score(X_DIGITS) == own_pipe.score(X_DIGITS) < 0
    restored = pickle.loads(pickle.dumps(own_pipe))
    assert_array_equal(restored.sample(9, random_state=0), rows)


def test_latent_gan_draws_by_label_on_request(own_pipe, labelled_pipe):
    assert labelled_pipe.sample(y=[3, 1, 4]).shape == (3, 64)
    assert labelled_pipe.sample(5, y=0).shape == (5, 64)
    assert labelled_pipe.sample(5).shape == (5, 64)
    one, two = (labelled_pipe.sample(5, y=k, random_state=0) for k in (0, 1))
    assert not np.array_equal(one, two)
    with pytest.raises(ValueError, match="conditional=True"):
        own_pipe.sample(5, y=0)


def test_call_last_reaches_latent_gan(own_pipe):
    latents = own_pipe[:-1].transform(X_DIGITS)
    assert call_last(own_pipe, "score", X_DIGITS) == own_pipe[-1].score(latents)


def test_a_manifold_at_the_end_keeps_its_score(own_pipe):
    stock = Pipeline(own_pipe.steps[:-1])
    assert own_pipe[:-1].score(X_DIGITS) == stock.score(X_DIGITS)


@pytest.mark.filterwarnings("ignore")
def test_images_and_frames_pass_through_our_steps(own_pipe):
    images = X_DIGITS.reshape(-1, 8, 8)
    gan = clone(own_pipe[-1])
    pipe = make_generative_pipeline(clone(own_pipe[2]), gan).fit(images)
    assert pipe.sample(3).shape == (3, 8, 8)
    assert pipe.score(images) < 0
    assert make_generative_pipeline(clone(gan)).fit(images).sample(2).shape == (2, 8, 8)
    frame = pd.DataFrame(X_DIGITS).add_prefix("pixel")
    for steps in ([clone(own_pipe[2]), clone(gan)], [clone(gan)]):
        drawn = make_generative_pipeline(*steps).set_output(transform="pandas")
        rows = drawn.fit(frame).sample(3)
        assert list(rows.columns) == list(frame.columns)
        assert drawn.score(frame) < 0


@pytest.mark.filterwarnings("ignore")
def test_a_search_over_the_latent_width_uses_a_cache(own_pipe, tmp_path):
    search = GridSearchCV(
        clone(own_pipe).set_params(memory=str(tmp_path)),
        {"autoencodermanifold__n_components": [2, 4]},
        scoring=generation_scorer("coverage"),
        refit=one_standard_error("autoencodermanifold__n_components"),
        cv=2,
        error_score="raise",
    ).fit(X_DIGITS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.sample(2).shape == (2, 64)


def test_a_mixture_of_float32_rows_is_drawn_without_a_warning():
    rows = np.random.RandomState(0).standard_normal((400, 8)).astype(np.float32)
    rows[:, 1] = rows[:, 0] + 1e-3 * rows[:, 1]
    mixture = GaussianMixture(5, random_state=0).fit(rows)
    before = mixture.covariances_.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample_from(mixture, 200, random_state=0)
    assert_array_equal(mixture.covariances_, before)


def test_a_pipeline_that_cannot_sample_says_so_before_it_fits():
    pipe = make_generative_pipeline(PolynomialFeatures(), GaussianMixture())
    with pytest.warns(UserWarning, match=r"polynomialfeatures.*Fitting goes on"):
        pipe.fit(X_IRIS)


def test_means_come_back_that_float32_cannot_hold():
    times = 1.7e9 + np.random.RandomState(0).uniform(0, 600, (300, 2))
    pipe = make_generative_pipeline(
        StandardScaler(), LatentGAN(max_epochs=2, random_state=0)
    ).fit(times)
    assert len(np.unique(pipe.sample(300, random_state=0)[:, 0])) > 290


class Fails(BaseEstimator):
    def fit(self, X, y=None):
        raise self.error("on purpose")

    def sample(self, n_samples=1, random_state=None):
        return np.zeros((n_samples, 2))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_refit_leaves_all_steps_as_they_were(error):
    X = np.random.RandomState(0).standard_normal((30, 2))
    pipe = make_generative_pipeline(StandardScaler(), GaussianMixture()).fit(X)
    mean = pipe[0].mean_
    broken = Fails()
    broken.error = error
    pipe.steps[-1] = ("gaussianmixture", broken)
    with pytest.raises(error):
        pipe.fit(pd.DataFrame(X + 1000, columns=["a", "b"]))
    if error is ValueError:
        assert_array_equal(pipe[0].mean_, mean)
    else:  # the last step may hold the best weights so far, with the layout of this fit
        assert list(pipe._columns) == ["a", "b"]


class ByLabel(LabelledRows):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return super().fit(X, y)


class Joint(BaseEstimator):
    """A manifold and a generator in one, of which the latter knows labels."""

    def fit(self, X, y):
        self.generator_ = ByLabel().fit(X, y)
        return self

    def sample(self, n_samples=1, *, y=None, random_state=None):
        return self.generator_.sample(n_samples, y=y, random_state=random_state)


@pytest.mark.parametrize("generator", [ByLabel(), Joint()])
def test_labels_that_a_generator_draws_by(generator):
    names = np.array(["setosa", "versicolor", "virginica"])
    pipe = make_pipeline(StandardScaler(), generator).fit(X_IRIS, names[Y_IRIS])
    assert_array_equal(drawable_labels(pipe), names)
    assert_array_equal(drawable_labels(pipe[-1]), names)


def test_no_labels_where_a_generator_draws_whatever_comes():
    pipe = make_pipeline(PCA(2), KernelDensity()).fit(X_IRIS)
    assert drawable_labels(pipe) is None
    gan = LatentGAN(max_epochs=20, random_state=0).fit(BLOBS[:30])
    assert drawable_labels(gan) is None
    with pytest.raises(NotFittedError):
        drawable_labels(make_pipeline(PCA(2), GaussianMixture()))
    with pytest.raises(AttributeError, match="needs a last step that draws"):
        drawable_labels(make_pipeline(StandardScaler(), PCA(2)).fit(X_IRIS))
