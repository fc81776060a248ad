"""What `save` writes, `load` gives back: values, scikit-learn's estimators, ours."""

import functools
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from manifoldgen import load, save
from manifoldgen.base import BaseTorchEstimator
from manifoldgen.persistence import PersistenceError
from manifoldgen.training.history import History


class Holder(BaseTorchEstimator):
    """Holds a value as its parameter."""

    def __init__(self, value=None):
        self.value = value


class KeepsRows(BaseTorchEstimator):
    _training_data = ("_reservoir",)

    def fit(self, X):
        self.mean_ = X.mean(axis=0)
        self._reservoir = X[:20]
        return self


def double(x):
    return 2 * x


def halve(x):
    return x / 2


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 5)) * [1, 2, 3, 4, 5] + 1.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def there_and_back(estimator, path, trusted=(), **kwargs):
    save(estimator, path, **kwargs)
    return load(path, trusted=trusted)


VALUES = {
    "None": None,
    "bool": True,
    "int": -(2**70),
    "float": 0.1 + 0.2,
    "negative zero": -0.0,
    "nan": math.nan,
    "inf": -math.inf,
    "complex": complex(math.inf, -0.5),
    "str": 'é\ud800\x00"\n',
    "bytes": b"\x00\xff",
    "tuple": (1, [2, (3,)], ()),
    "list": [None, [1.5, math.nan]],
    "dict": {"type": "name", "name": "os:system", 1: 2, (1, "a"): [3], None: {}},
    "path": Path("a/b"),
    "device": torch.device("cuda:1"),
    "float64": np.float64(0.1),
    "float32 nan": np.float32("nan"),
    "bool_": np.bool_(True),
    "uint64": np.uint64(2**64 - 1),
    "str_": np.str_("naïve"),
    "complex64": np.complex64(1 - 2j),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_plain_values_keep_type_and_value(value, path):
    again = there_and_back(Holder(value), path, [Holder]).value
    assert type(again) is type(value)
    assert repr(again) == repr(value)


DTYPES = "?bhilqBHILQefdFD"


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(6).reshape(2, 3).astype(code) for code in DTYPES),
        np.arange(3.0).astype(">f8"),
        np.arange(3).astype(">u2"),
        np.longdouble([0.1, 1e4000]),
        np.array(["a", "", "héé"]),
        np.array([["a", "bc"]]).astype(">U5"),
        np.array([b"x", b"yz"]),
        np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
        np.array([1, 2], dtype="m8[25s]"),
        np.array(["a", None, ("b", 2)], dtype=object),
        np.array([["a"], ["b"]], dtype=object),
        np.array([], dtype=object),
        np.zeros((0, 3), dtype=np.float32),
        np.array([], dtype="<U3"),
        np.array(2.5),
        np.array("word"),
        np.array([np.nan, -0.0, np.inf]),
    ],
    ids=lambda array: f"{array.dtype.str}-{array.shape}",
)
def test_arrays_keep_bytes_dtype_and_shape(array, path):
    again = there_and_back(Holder(array), path, [Holder]).value
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert again.flags.writeable
    if array.dtype == object:
        assert again.tolist() == array.tolist()
    else:
        assert again.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.asfortranarray(np.arange(12).astype("u4").reshape(3, 4))[:2],
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.arange(12.0)[::-2],
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))[:, ::-1],
    ],
    ids=["F", "F rows", "C columns", "reversed", "3-D"],
)
def test_arrays_keep_their_layout(array, path):
    again = there_and_back(Holder(array), path, [Holder]).value
    np.testing.assert_array_equal(again, array)
    assert again.strides == array.strides


@pytest.mark.parametrize(
    "array",
    [np.broadcast_to(np.arange(3.0), (4, 3)), np.zeros((1000, 100))[:, ::99].T[1:]],
    ids=["overlapping", "mostly gaps"],
)
def test_layouts_that_are_not_kept_become_contiguous(array, path):
    again = there_and_back(Holder(array), path, [Holder]).value
    np.testing.assert_array_equal(again, array)
    assert again.flags.c_contiguous


@pytest.mark.parametrize(
    "name",
    "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split(),
)
def test_tensors_keep_dtype_shape_and_order(name, path):
    dtype = getattr(torch, name)
    for tensor in (torch.arange(6).reshape(2, 3).to(dtype), torch.tensor(1).to(dtype)):
        for value in (tensor, tensor.mT if tensor.ndim else tensor[None][:0]):
            again = there_and_back(Holder(value), path, [Holder]).value
            assert again.dtype == dtype
            assert again.shape == value.shape
            assert again.stride() == value.stride()
            assert torch.equal(again, value)


def test_views_of_one_tensor_are_stored_as_what_they_show(path):
    base = torch.arange(10.0)
    again = there_and_back(Holder([base[2:4], base[3:6]]), path, [Holder]).value
    assert torch.equal(again[0], base[2:4])
    assert torch.equal(again[1], base[3:6])


def test_a_random_state_goes_on_where_it_was(path):
    rng = np.random.RandomState(3)
    rng.normal(size=7)  # odd: one Gaussian is kept back
    again = there_and_back(Holder(rng), path, [Holder]).value
    np.testing.assert_array_equal(again.normal(size=5), rng.normal(size=5))
    np.testing.assert_array_equal(again.randint(9, size=800), rng.randint(9, size=800))


def test_a_history_keeps_its_rows(path):
    history = History([{"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "other": math.inf}])
    again = there_and_back(Holder(history), path, [Holder]).value
    assert type(again) is History
    assert again.rows == history.rows


def test_functions_classes_and_partials_come_back_as_the_trusted_ones(path):
    value = [double, Holder, np.log1p, functools.partial(double, 3, key=(1,))]
    again = there_and_back(Holder(value), path, [Holder, double, np.log1p]).value
    assert again[:3] == value[:3]
    assert (again[3].func, again[3].args, again[3].keywords) == (
        (double, (3,), {"key": (1,)})
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [lambda x: x]}, r"Holder\.value\['a'\]\[0\] .*lambda"),
        ((1, {2}), r"Holder\.value\[1\] .*builtins\.set"),
        (torch.nn.Linear(1, 1), r"Holder\.value .*_networks"),
        (np.arange(3).astype, r"Holder\.value .*method"),
        (np.array([(1, 2.0)], dtype="i4,f4"), r"Holder\.value .*numpy\.ndarray"),
        (np.ma.array([1]), r"Holder\.value .*MaskedArray"),
        (Holder(np.random.default_rng(0)), r"Holder\.value\.value .*Generator"),
        (KMeans(), r"Holder\.value .*KMeans is neither"),
        (torch.eye(2).to_sparse(), r"Holder\.value .*torch\.Tensor"),
        (torch.tensor([1j]), r"Holder\.value .*torch\.Tensor"),
        (2**5000, r"Holder\.value .*builtins\.int"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(value, message, path):
    with pytest.raises(PersistenceError, match=message):
        save(Holder(value), path)
    assert list(path.parent.iterdir()) == []


def test_a_value_that_holds_itself_is_refused(path):
    value = []
    value.append(value)
    with pytest.raises(PersistenceError, match="refers to itself"):
        save(Holder(value), path)


def test_values_too_long_for_a_header_are_refused(path, monkeypatch):
    monkeypatch.setattr("manifoldgen.persistence._container._MAX_HEADER", 10_000)
    with pytest.raises(PersistenceError, match="10000 of a header"):
        save(Holder(list(range(5000))), path)
    save(Holder(np.arange(5000)), path)


def test_two_objects_of_one_name_are_refused(path):
    def make():
        def inner():
            """One of several functions with this name."""

        return inner

    with pytest.raises(PersistenceError, match=r"value\[1\].* same name"):
        save(Holder([make(), make()]), path)


def test_save_takes_nothing_but_an_estimator(path):
    for value in ([1], Holder, None):
        with pytest.raises(PersistenceError, match="takes an estimator"):
            save(value, path)


TRANSFORMERS = [
    StandardScaler(),
    MinMaxScaler((-1, 1), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    Normalizer(),
    QuantileTransformer(n_quantiles=20),
    PowerTransformer(),
    PCA(3),
    PCA(3, svd_solver="covariance_eigh", whiten=True),
    PCA(0.9, svd_solver="full"),
    PCA(2, svd_solver="randomized", random_state=0),
    IncrementalPCA(2, batch_size=20),
    TruncatedSVD(2, random_state=0),
    FunctionTransformer(),
    FunctionTransformer(double, halve),
    GaussianMixture(3, random_state=0),
    GaussianMixture(2, covariance_type="tied", random_state=0),
    BayesianGaussianMixture(n_components=2, random_state=0, max_iter=500),
    KernelDensity(bandwidth="scott"),
    KernelDensity(kernel="tophat", algorithm="ball_tree", leaf_size=3),
]


def outputs(estimator, X):
    """Return all that an estimator computes of X."""
    methods = ("transform", "score_samples", "predict_proba", "inverse_transform")
    found = [getattr(estimator, m)(X) for m in methods[:3] if hasattr(estimator, m)]
    if hasattr(estimator, "inverse_transform"):
        found.append(estimator.inverse_transform(found[0]))
    return found


def name_of(estimator):
    """Return what workers agree on: functions show where in memory they are."""
    return re.sub(" at 0x[0-9a-f]+", "", str(estimator))


@pytest.mark.parametrize("estimator", TRANSFORMERS, ids=name_of)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scikit_learn_estimators_compute_the_same_bits(estimator, dtype, X, path):
    X = X.astype(dtype)
    fitted = clone(estimator).fit(X)
    again = there_and_back(fitted, path, [double, halve], include_data=True)
    before, after = outputs(fitted, X[:7]), outputs(again, X[:7])
    assert before
    for expected, got in zip(before, after, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert list(vars(again)) == list(vars(fitted)) or isinstance(fitted, KernelDensity)
    assert str(clone(again)) == str(clone(fitted))
    np.testing.assert_array_equal(outputs(again.fit(X), X)[0], outputs(fitted, X)[0])


@pytest.mark.parametrize("estimator", TRANSFORMERS, ids=name_of)
def test_unfitted_estimators_keep_their_parameters(estimator, path):
    again = there_and_back(estimator, path, [double, halve])
    assert str(again) == str(estimator)
    assert vars(again).keys() == vars(estimator).keys()


def test_kernel_density_keeps_weights_and_needs_its_rows(X, path):
    density = KernelDensity().fit(X, sample_weight=np.arange(1.0, 61.0))
    with pytest.raises(PersistenceError, match=r"Pipeline\.steps\[0\]\[1\].*include_d"):
        save(Pipeline([("density", density)]), path)
    again = there_and_back(density, path, include_data=True)
    np.testing.assert_array_equal(again.score_samples(X), density.score_samples(X))
    np.testing.assert_array_equal(again.sample(9, 0), density.sample(9, 0))


def test_quantiles_are_training_values_too(X, path):
    with pytest.raises(PersistenceError, match="include_data"):
        save(QuantileTransformer(n_quantiles=20).fit(X), path)


def test_a_pipeline_keeps_steps_options_and_names(X, path):
    frame = pd.DataFrame(X, columns=list("abcde"))
    pipeline = make_pipeline(
        MinMaxScaler(), "passthrough", PCA(2), GaussianMixture(2, random_state=0)
    )
    pipeline.set_params(memory=str(path.parent / "cache"), verbose=False)
    pipeline.set_output(transform="pandas").fit(frame)
    again = there_and_back(pipeline, path)
    assert list(again.named_steps) == list(pipeline.named_steps)
    assert again.feature_names_in_.tolist() == list("abcde")
    pd.testing.assert_frame_equal(
        again[:-1].transform(frame), pipeline[:-1].transform(frame)
    )
    np.testing.assert_array_equal(
        again.score_samples(frame), pipeline.score_samples(frame)
    )


def test_further_partial_fit_and_warm_start_go_on_as_without_the_file(X, path):
    scaler = StandardScaler().partial_fit(X[:30])
    again = there_and_back(scaler, path)
    scaler.partial_fit(X[30:])
    again.partial_fit(X[30:])
    np.testing.assert_array_equal(again.var_, scaler.var_)
    mixture = GaussianMixture(2, warm_start=True, random_state=0, tol=1.0)
    again = there_and_back(mixture.fit(X), path)
    np.testing.assert_array_equal(again.fit(X).means_, mixture.fit(X).means_)


def pattern_in(data, X):
    """Return whether any row of X, or its first half, is in the bytes of a file."""
    rows = [X[i, : X.shape[1] // 2] for i in range(len(X))]
    kinds = (np.float64, np.float32, np.float16)
    return any(row.astype(kind).tobytes() in data for row in rows for kind in kinds)


def test_no_training_rows_unless_asked_for(X, path):
    estimators = [
        make_pipeline(RobustScaler(), PCA(2), GaussianMixture(2, random_state=0)),
        make_pipeline(StandardScaler(), BayesianGaussianMixture(n_components=2)),
        PowerTransformer(),
        IncrementalPCA(2, batch_size=20),
        KeepsRows(),
    ]
    for estimator in estimators:
        save(estimator.fit(X), path)
        assert not pattern_in(path.read_bytes(), X)
    assert not hasattr(load(path, trusted=[KeepsRows]), "_reservoir")
    for estimator in (KeepsRows().fit(X), KernelDensity().fit(X)):
        save(estimator, path, include_data=True)
        assert pattern_in(path.read_bytes(), X)
    again = there_and_back(KeepsRows().fit(X), path, [KeepsRows], include_data=True)
    np.testing.assert_array_equal(again._reservoir, X[:20])


def test_any_safetensors_reader_shows_the_tensors(X, path):
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    save(pipeline, path)
    tensors = safetensors.torch.load_file(path)
    np.testing.assert_array_equal(tensors["steps[0][1].mean_"], pipeline[0].mean_)
    assert set(tensors) >= {"steps[1][1].components_", "[sha256]"}


def test_one_estimator_gives_one_file(X, path):
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    save(pipeline, path)
    first = path.read_bytes()
    save(load(path), path)
    assert path.read_bytes() == first


def test_another_version_of_scikit_learn_warns(X, path, monkeypatch):
    save(StandardScaler().fit(X), path)
    monkeypatch.setattr("sklearn.__version__", "99.0")
    with pytest.warns(InconsistentVersionWarning, match=r"StandardScaler .* 99\.0"):
        load(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InconsistentVersionWarning):
            load(path)


def test_subclasses_of_foreign_bases_are_no_estimators_of_ours(path):
    class Stranger(BaseEstimator):
        pass

    with pytest.raises(PersistenceError, match="Stranger is neither"):
        save(Stranger(), path)
