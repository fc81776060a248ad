"""Files that are damaged, foreign or written by an enemy, and code that is foreign."""

import contextlib
import copy
import hashlib
import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from manifoldgen import (
    AutoencoderManifold,
    DistilledManifold,
    TSNEManifold,
    load,
    save,
)
from manifoldgen.base import BaseTorchEstimator
from manifoldgen.exceptions import DeviceWarning
from manifoldgen.persistence import FORMAT_VERSION, PersistenceError


class Linear(BaseTorchEstimator):
    """One layer, of the width that a parameter says."""

    _networks = ("layer_",)

    def __init__(self, width=3, make=None, device="cpu"):
        self.width = width
        self.make = make
        self.device = device

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        self.layer_ = self._build_networks(0)["layer_"].eval()
        self.device_ = self.device
        return self

    def predict(self, X):
        with torch.no_grad():
            return self.layer_(torch.tensor(X, dtype=torch.float32)).numpy()

    def _build_networks(self, seed):
        make = self.make or torch.nn.Linear
        return {"layer_": make(self.n_features_in_, self.width)}


class Wide(torch.nn.Linear):
    pass


def factory(n_in, n_out):
    return torch.nn.Linear(n_in, n_out)


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(40, 4))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(X, path):
    save(make_pipeline(StandardScaler(), PCA(2)).fit(X), path)
    return path


def parts_of(path):
    """Return header, document and tensor bytes of a file, by the published layout."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    document = json.loads(header["__metadata__"]["manifoldgen"])
    return header, document, data[start:-32]


def forge(path, header, document, body):
    """Write a file with a right checksum."""
    header["__metadata__"]["manifoldgen"] = json.dumps(document)
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + body
    path.write_bytes(data + hashlib.sha256(data).digest())


def forged(path, change):
    header, document, body = parts_of(path)
    change(document["estimator"])
    forge(path, header, document, body)


def state_of(node):
    return dict(map(tuple, node["state"]))


def test_a_forged_file_loads_so_that_the_tests_below_mean_something(saved, X):
    expected = load(saved).transform(X)
    forged(saved, lambda node: None)
    np.testing.assert_array_equal(load(saved).transform(X), expected)


def test_every_altered_byte_is_found(saved):
    data = saved.read_bytes()
    rng = np.random.default_rng(0)
    offsets = {*range(16), *range(len(data) - 40, len(data))}
    offsets |= set(rng.integers(len(data), size=400).tolist())
    for offset in offsets:
        altered = bytearray(data)
        altered[offset] ^= 1 << int(rng.integers(8))
        saved.write_bytes(altered)
        with pytest.raises(PersistenceError, match=r"damaged|not a file that"):
            load(saved)


def test_every_truncation_and_addition_is_found(saved):
    data = saved.read_bytes()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        saved.write_bytes(data[:length])
        with pytest.raises(PersistenceError, match=r"damaged|not a file that"):
            load(saved)
    saved.write_bytes(data + b"\0")
    with pytest.raises(PersistenceError, match="damaged"):
        load(saved)


@pytest.mark.filterwarnings("ignore")
def test_altered_bytes_under_a_right_checksum_do_no_harm(path, X):
    """What still parses may load; all else is refused with the one class of errors."""
    steps = StandardScaler(), PCA(2, random_state=np.random.RandomState(0)), Linear()
    save(make_pipeline(*steps).fit(X), path)
    data = path.read_bytes()[:-32]
    rng = np.random.default_rng(1)
    n_refused = 0
    for offset in rng.integers(len(data) - 3000, size=400):
        altered = bytearray(data)
        altered[offset] = rng.integers(256)
        path.write_bytes(altered + hashlib.sha256(altered).digest())
        try:
            load(path, trusted=[Linear])
        except PersistenceError:
            n_refused += 1
    assert 100 < n_refused


@pytest.mark.filterwarnings("ignore")
def test_nodes_in_the_wrong_places_do_no_harm(path, X):
    density = KernelDensity().fit(X)
    steps = FunctionTransformer(), PCA(np.random.RandomState(0)), Linear(make=factory)
    holder = make_pipeline(*steps, density)
    holder[2].fit(X)
    save(holder, path, include_data=True)
    header, document, body = parts_of(path)
    rng = np.random.default_rng(2)
    for _ in range(300):
        changed = copy.deepcopy(document)
        places = list(places_in(changed["estimator"]))
        (one, key), (other, name) = (
            places[i] for i in rng.integers(len(places), size=2)
        )
        one[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(one[key])
        forge(path, header, changed, body)
        with contextlib.suppress(PersistenceError):
            load(path, trusted=[Linear, factory])


def places_in(node):
    """Yield (container, key) of everything inside a tree."""
    keys = node if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places_in(node[key])


def test_foreign_files_are_refused(path, X):
    foreign = {
        "empty": b"",
        "pickle": pickle.dumps(PCA(2).fit(X)),
        "random": np.random.default_rng(0).bytes(5000),
        "text": b"hello\n" * 20,
        "safetensors of others": (2).to_bytes(8, "little") + b"{}",
        "deep header": (200_000).to_bytes(8, "little") + b"[" * 200_000,
        "long header": (2**63).to_bytes(8, "little") + b"{}",
    }
    for content in foreign.values():
        path.write_bytes(content)
        with pytest.raises(PersistenceError, match=f"{path}: not a file that"):
            load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(PersistenceError, match="not a file that"):
        load(path)


def test_paths_without_a_file_are_refused(tmp_path):
    with pytest.raises(PersistenceError, match="no such file"):
        load(tmp_path / "absent")
    with pytest.raises(PersistenceError, match="folder"):
        load(tmp_path)
    with pytest.raises(PersistenceError, match="no such file"):
        load(os.devnull)


def test_a_file_that_cannot_be_read_is_refused(saved, monkeypatch):
    def fails(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", fails)
    with pytest.raises(PersistenceError, match="Permission denied"):
        load(saved)


def test_nothing_is_unpickled(path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(PersistenceError):
        load(path)


def test_a_newer_format_says_what_to_do(saved):
    header, document, body = parts_of(saved)
    document["format_version"] = FORMAT_VERSION + 1
    document["versions"]["manifoldgen"] = "9.9"
    forge(saved, header, document, body)
    with pytest.raises(PersistenceError, match=r"manifoldgen 9\.9.*Upgrade"):
        load(saved)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "sklearn.cluster:KMeans",
        "manifoldgen:load",
        "manifoldgen:base.BaseTorchEstimator",
        "sklearn.base:BaseEstimator",
        "",
    ],
)
def test_classes_outside_the_list_are_refused(name, saved):
    forged(saved, lambda node: node.update({"class": name}))
    with pytest.raises(PersistenceError, match="code that is not manifoldgen's"):
        load(saved)


def test_trust_makes_no_estimator_of_another_class(saved):
    forged(saved, lambda node: node.update({"class": f"{__name__}:Wide"}))
    with pytest.raises(PersistenceError, match="no class of estimators"):
        load(saved, trusted=[Wide])


def test_a_root_that_is_no_estimator_is_refused(saved):
    header, document, body = parts_of(saved)
    forge(saved, header, {**document, "estimator": [1, 2]}, body)
    with pytest.raises(PersistenceError, match="not an estimator"):
        load(saved)


@pytest.mark.parametrize(
    "name",
    ["__class__", "__reduce__", "__x", "a.b", "", "transform", "get_params", 3, None],
)
def test_attributes_with_a_meaning_are_refused(name, saved):
    forged(
        saved,
        lambda node: state_of(node)["steps"][0]["items"][1]["state"].append([name, 1]),
    )
    with pytest.raises(PersistenceError):
        load(saved)


def node_of(change):
    return lambda node: node["state"].append(["extra", change])


BAD_NODES = {
    "unknown type": {"type": "eval", "value": "1"},
    "no type": {"value": 1},
    "absent tensor": {"type": "array", "tensor": "no", "dtype": "<f8", "strides": None},
    "object dtype": {"type": "scalar", "dtype": "|O", "value": 1},
    "comma dtype": {"type": "scalar", "dtype": "f8,f8", "value": 1},
    "wide scalar": {"type": "scalar", "dtype": "|i1", "value": 300},
    "many objects": {"type": "objects", "shape": [10**12], "items": []},
    "negative": {"type": "objects", "shape": [-1, -1], "items": [1]},
    "unhashable key": {"type": "dict", "items": [[[1], 2]]},
    "call of data": {
        "type": "partial",
        "function": "print",
        "arguments": [],
        "keywords": {"type": "dict", "items": []},
    },
    "name that no scan saw": {"type": "History", "rows": {"type": "name", "name": 1}},
    "no state": {"type": "RandomState", "state": {"type": "dict", "items": []}},
    "text of a size": {"type": "scalar", "dtype": "|S1", "value": 10**9},
    "long digits": {"type": "float", "value": "1" * 10**5 + "x"},
    "class that is no string": {"type": "estimator", "class": 1, "state": []},
    "steps": {"type": "estimator", "class": "sklearn.pipeline:Pipeline", "state": []},
}


@pytest.mark.parametrize("node", BAD_NODES.values(), ids=BAD_NODES)
def test_bad_nodes_are_refused(node, saved):
    forged(saved, node_of(node))
    with pytest.raises(PersistenceError):
        load(saved)


@pytest.mark.parametrize(
    ("dtype", "strides"),
    [
        ("<f8", [1]),
        ("<f8", [0, 0]),
        ("<f8", [1, 10**9]),
        ("<f8", [10**15, 1]),
        ("<f8", "ab"),
        ("<i8", None),
        ("<U1", None),
    ],
)
def test_arrays_that_do_not_fit_their_bytes_are_refused(dtype, strides, saved):
    def change(node):
        pca = state_of(node)["steps"][1]["items"][1]
        state_of(pca)["components_"].update({"dtype": dtype, "strides": strides})

    forged(saved, change)
    with pytest.raises(PersistenceError):
        load(saved)


def test_the_cache_of_a_pipeline_is_never_taken_from_the_file(saved):
    """Joblib unpickles what it finds in that folder."""
    forged(saved, lambda node: node["state"].append(["memory", "/tmp/of an enemy"]))
    assert load(saved).memory is None


def test_a_mersenne_twister_outside_its_state_is_refused(path):
    save(PCA(2, random_state=np.random.RandomState(0)), path)

    def change(node):
        state = dict(map(tuple, state_of(node)["random_state"]["state"]["items"]))
        dict_items = state["state"]["items"]
        dict_items[[key for key, _ in dict_items].index("pos")][1] = 10**6

    forged(path, change)
    with pytest.raises(PersistenceError, match="Mersenne"):
        load(path)


def test_truth_values_are_zero_or_one_whatever_the_bytes(path):
    mask = np.array([True, False, True])
    save(PCA(mask), path)
    header, document, body = parts_of(path)
    assert body.count(b"\1\0\1") == 1
    forge(path, header, document, body.replace(b"\1\0\1", b"\7\0\xff"))
    np.testing.assert_array_equal(load(path).n_components.view("u1"), [1, 0, 1])


def test_characters_that_do_not_exist_are_refused(path):
    save(PCA(np.array(["ab"])), path)
    header, document, body = parts_of(path)
    forge(path, header, document, body.replace(b"a\0\0\0", b"\xff" * 4))
    with pytest.raises(PersistenceError, match="characters"):
        load(path)


@pytest.mark.parametrize("depth", [20_000, 1_000_000])
def test_depth_bombs_are_refused(depth, saved):
    header, document, body = parts_of(saved)
    document["estimator"]["state"].append(["extra", "BOMB"])
    text = json.dumps(document).replace('"BOMB"', "[" * depth + "]" * depth)
    header["__metadata__"]["manifoldgen"] = text
    raw = json.dumps(header).encode()
    data = len(raw).to_bytes(8, "little") + raw + body
    saved.write_bytes(data + hashlib.sha256(data).digest())
    with pytest.raises(PersistenceError, match="RecursionError"):
        load(saved)


@pytest.mark.parametrize(
    "sizes", [[10**9], [10**5, 10**5], [1] * 10**5], ids=["40 GB", "wide", "many"]
)
def test_networks_larger_than_their_weights_are_never_filled(sizes, path, X):
    save(AutoencoderManifold(2, hidden_sizes=(3,), max_epochs=1).fit(X), path)
    forged(path, lambda node: state_of(node)["hidden_sizes"].update(items=sizes))
    with pytest.raises(PersistenceError, match="larger than the weights stored"):
        load(path)


def test_network_weights_of_other_shapes_are_refused(path, X):
    save(Linear().fit(X), path)

    def change(node):
        node["state"] = [[k, 4 if k == "width" else v] for k, v in node["state"]]

    forged(path, change)
    with pytest.raises(PersistenceError, match="size mismatch"):
        load(path, trusted=[Linear])


def test_parameters_changed_after_fit_are_found_before_writing(path, X):
    for width in (4, -1, "wide"):
        linear = Linear().fit(X).set_params(width=width)
        with pytest.raises(PersistenceError, match=r"\.steps\[0\]\[1\] .* Set them"):
            save(make_pipeline(linear), path)
        assert not path.exists()


def test_foreign_classes_load_only_when_trusted(path, X):
    save(make_pipeline(StandardScaler(), Linear(make=Wide)).fit(X), path)
    name = f"{Linear.__module__}:Linear"
    wide = f"{Wide.__module__}:Wide"
    with pytest.raises(PersistenceError) as raised:
        load(path)
    assert f"trusted=['{name}', '{wide}']" in str(raised.value)
    with pytest.raises(PersistenceError, match=rf"trusted=\['{wide}'\]"):
        load(path, trusted=[Linear])
    for trusted in ([Linear, Wide], (name, wide), {Linear, wide, "other:thing"}):
        again = load(path, trusted=trusted)
        assert type(again[-1]) is Linear
        assert type(again[-1].layer_) is Wide


def test_an_untrusted_name_is_never_imported(path, X, tmp_path, monkeypatch):
    (tmp_path / "innocent.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(tmp_path)
    save(Linear(make=factory).fit(X), path)
    header, document, body = parts_of(path)
    text = json.dumps(document).replace(f"{__name__}:factory", "innocent:factory")
    forge(path, header, json.loads(text), body)
    with pytest.raises(PersistenceError, match="innocent:factory"):
        load(path, trusted=[Linear])
    assert "innocent" not in sys.modules


def test_trusted_names_that_cannot_be_imported_say_so(path, X):
    class Local(torch.nn.Linear):
        pass

    save(Linear(make=Local).fit(X), path)
    name = f"{Local.__module__}:{Local.__qualname__}"
    with pytest.raises(PersistenceError, match="Pass the object itself"):
        load(path, trusted=[Linear, name])
    assert type(load(path, trusted=[Linear, Local]).layer_) is Local


def test_a_trusted_class_stands_for_itself_saved_from_a_script(path, X, monkeypatch):
    monkeypatch.setattr(Wide, "__module__", "__main__")
    save(Linear(make=Wide).fit(X), path)
    monkeypatch.undo()
    assert Wide.__module__ != "__main__"
    assert type(load(path, trusted=[Linear, Wide]).layer_) is Wide


@pytest.mark.parametrize("trusted", ["a:b", Linear, [3], ["no colon"], [lambda x: x]])
def test_trusted_is_checked(trusted, saved):
    with pytest.raises(TypeError, match="trusted must"):
        load(saved, trusted=trusted)


def test_an_error_of_trusted_code_is_named(path, X):
    save(Linear(make=factory).fit(X), path)

    def factory_that_fails(n_in, n_out):
        raise LookupError("no weights today")

    factory_that_fails.__qualname__ = "factory"
    with pytest.raises(PersistenceError, match="LookupError: no weights today"):
        load(path, trusted=[Linear, factory_that_fails])


def test_a_device_that_is_not_here_falls_back(path, X):
    linear = Linear().fit(X)
    linear.device_ = "cuda:77"
    save(linear, path)
    with pytest.warns(DeviceWarning, match="cuda:77"):
        again = load(path, trusted=[Linear])
    assert again.device_ == "cpu"
    np.testing.assert_array_equal(again.predict(X), linear.predict(X))
    assert load(path, trusted=[Linear], device="cpu").device_ == "cpu"
    forged(path, lambda node: node["state"].append(["device_", "fridge"]))
    with pytest.raises(PersistenceError, match="fridge"):
        load(path, trusted=[Linear])


def test_loading_leaves_the_global_random_states(path, X):
    save(Linear().fit(X), path)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    load(path, trusted=[Linear])
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_the_tree_of_a_density_is_built_from_rows_alone(path, X):
    save(KernelDensity().fit(X), path, include_data=True)
    forged(path, lambda node: node["state"].append(["tree_", [1, 2]]))
    np.testing.assert_array_equal(
        load(path).score_samples(X), KernelDensity().fit(X).score_samples(X)
    )


def little_map(X):
    """Return a map that looks new rows up among its own, two of which are equal."""
    short = {"early_exaggeration_iter": 5, "n_iter": 5, "perplexity": 5}
    manifold = TSNEManifold(**short, hidden_sizes=(3,), max_epochs=1, random_state=0)
    return manifold.fit(np.concatenate([X, X[:1]]))


def altered(array, at, value):
    array = array.copy()
    array[at] = value
    return array


BAD_ARRAYS = {
    "members beyond the rows": ("members", lambda a: altered(a, 3, 10**9)),
    "negative members": ("members", lambda a: altered(a, 3, -1)),
    "members twice": ("members", lambda a: altered(a, 3, a[4])),
    "members in float": ("members", lambda a: a.astype(float)),
    "fewer members": ("members", lambda a: a[:-1]),
    "members in a table": ("members", lambda a: a.reshape(1, -1)),
    "starts beyond the members": ("starts", lambda a: altered(a, -1, 10**12)),
    "starts that fall": ("starts", lambda a: altered(a, 3, -(2**62))),
    "starts that wrap around": ("starts", lambda a: altered(a, 3, 2**63 - 1)),
    "equal starts": ("starts", lambda a: altered(a, 3, a[2])),
    "starts that begin later": ("starts", lambda a: altered(a, 0, 1)),
    "fewer starts": ("starts", lambda a: altered(a[:-1], -1, a[-1])),
    "starts in 32 bits": ("starts", lambda a: a.astype(np.int32)),
    "rows that are not finite": ("rows", lambda a: altered(a, (2, 1), np.nan)),
    "rows beyond squares": ("rows", lambda a: altered(a.astype(float), (2, 1), 1e200)),
    "rows in whole numbers": ("rows", lambda a: a.astype(np.int64)),
    "complex rows": ("rows", lambda a: a.astype(complex)),
    "one dimension": ("rows", lambda a: a[:, 0]),
    "no columns": ("rows", lambda a: a[:, :0]),
    "no row": ("rows", lambda a: a[:0]),
    "text": ("rows", lambda a: "rows"),
    "nothing": ("members", lambda a: None),
}


@pytest.mark.parametrize(("name", "change"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_an_index_whose_arrays_do_not_fit_is_refused(name, change, path, X):
    manifold = little_map(X)
    arrays = manifold._index.arrays()
    setattr(manifold._index, f"_{name}", change(arrays[name]))
    save(manifold, path, include_data=True)
    with pytest.raises(PersistenceError, match=r"arrays must|rows|1D|0 feat|no attr"):
        load(path)


@pytest.mark.parametrize(
    "node",
    [
        {"metric": "precomputed"},
        {"metric": ["euclidean"]},
        {"metric": "os:system"},
        {"arrays": {"type": "dict", "items": []}},
        {"arrays": {"type": "dict", "items": [["rows", 1], ["metric", "l1"]]}},
        {"arrays": [1, 2, 3]},
    ],
)
def test_an_index_of_other_parts_is_refused(node, path, X):
    save(little_map(X), path, include_data=True)
    expected = load(path).transform(X)
    forged(path, lambda tree: None)
    np.testing.assert_array_equal(load(path).transform(X), expected)
    forged(path, lambda tree: state_of(tree)["_index"].update(node))
    with pytest.raises(PersistenceError):
        load(path)


@pytest.mark.filterwarnings("ignore")
def test_altered_bytes_of_a_map_do_no_harm(path, X):
    save(little_map(X), path, include_data=True)
    data = path.read_bytes()[:-32]
    rng = np.random.default_rng(3)
    n_refused = 0
    for offset in rng.integers(len(data), size=300):
        changed = bytearray(data)
        changed[offset] = rng.integers(256)
        path.write_bytes(changed + hashlib.sha256(changed).digest())
        try:
            load(path).transform(X)
        except Exception:
            n_refused += 1
    assert 20 < n_refused < 300


def test_landmarks_beyond_memory_are_never_compared(path, X):
    manifold = DistilledManifold(n_landmarks=5, hidden_sizes=(1,), max_epochs=1)
    save(manifold.fit(X), path)
    header, document, body = parts_of(path)
    state_of(document["estimator"])["_landmarks"]["tensor"] = "many"
    n = 30_000  # all pairs would take 3.6 GB, the file does not take one MB
    offsets = [len(body), len(body) + 8 * n]
    header["many"] = {"dtype": "F32", "shape": [n, 2], "data_offsets": offsets}
    header["[sha256]"]["data_offsets"] = [offsets[1], offsets[1] + 32]
    forge(path, header, document, body + bytes(8 * n))
    with pytest.raises(PersistenceError, match="larger than the weights stored"):
        load(path)
