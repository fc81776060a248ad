"""From an estimator to a tree of JSON and the tensors that the tree names."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn

from .._random import isolated_streams
from ..neighbors import NeighborIndex
from ..training.history import History
from ._container import Block, PersistenceError
from ._layout import extent, strides_of
from ._trust import KNOWN, RECORDS, check_attribute, class_name, is_storable, name_of

_MAX_DEPTH = 100

_TORCH_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_NUMPY_DTYPES = {
    "<f8": "F64",
    "<f4": "F32",
    "<f2": "F16",
    "<i8": "I64",
    "<i4": "I32",
    "<i2": "I16",
    "|i1": "I8",
    "|u1": "U8",
    "|b1": "BOOL",
}

_CHANGED = (
    "cannot be stored: its parameters, as they are now, do not build networks of the "
    "fitted shapes. Set them back to what they were in fit, or fit again."
)

Where = tuple[str, ...]
"""The steps of an attribute's path: ("Pipeline", ".steps", "[0]", "[1]", ".mean_")."""


class Encoder:
    """Turns values into nodes of the tree, and collects their tensors.

    Parameters
    ----------
    include_data : bool
        Whether training rows that an estimator holds are stored too.
    """

    def __init__(self, include_data: bool) -> None:
        self.include_data = include_data
        self.tensors: dict[str, Block] = {}
        self._names: dict[str, Any] = {}

    def value(self, value: Any, where: Where) -> Any:
        """Return the node of `value`, which stands at the path `where`."""
        if len(where) > _MAX_DEPTH:
            raise PersistenceError(
                f"{''.join(where[:5])}... nests deeper than {_MAX_DEPTH} levels, or "
                "refers to itself."
            )
        if value is None or type(value) in (bool, str):
            return value
        for encode in (self._plain, self._nested, self._numbers, self._object):
            node = encode(value, where)
            if node is not None:
                return node
        raise PersistenceError(f"{''.join(where)} cannot be stored: {_reason(value)}")

    def _plain(self, value: Any, where: Where) -> Any:
        kind = type(value)
        if kind is int and value.bit_length() <= 4096:
            return value
        if kind is float and math.isfinite(value):
            return value
        if kind in (float, complex):
            return {"type": kind.__name__, "value": repr(value)}
        if kind is bytes:
            return {"type": "bytes", "value": value.hex()}
        if isinstance(value, PurePath):
            return {"type": "path", "value": str(value)}
        if kind is torch.device:
            return {"type": "device", "value": str(value)}
        if isinstance(value, np.generic) and value.dtype.kind in "biufcSU":
            item = value.item()
            if not isinstance(item, np.longdouble | np.clongdouble):
                node = self.value(item, where)
                return {"type": "scalar", "dtype": value.dtype.str, "value": node}
        return None

    def _nested(self, value: Any, where: Where) -> Any:
        kind = type(value)
        if kind in (list, tuple):
            items = [self.value(v, (*where, f"[{i}]")) for i, v in enumerate(value)]
            return items if kind is list else {"type": "tuple", "items": items}
        if kind is dict:
            items = [
                [self.value(key, where), self.value(item, (*where, f"[{key!r}]"))]
                for key, item in value.items()
            ]
            return {"type": "dict", "items": items}
        if kind is functools.partial:
            return {
                "type": "partial",
                "function": self.value(value.func, (*where, ".func")),
                "arguments": self.value(list(value.args), (*where, ".args")),
                "keywords": self.value(dict(value.keywords), (*where, ".keywords")),
            }
        return None

    def _numbers(self, value: Any, where: Where) -> Any:
        if type(value) is Tensor and value.layout == torch.strided:
            tensor = value.detach().cpu()
            return (
                self._tensor(tensor, where) if tensor.dtype in _TORCH_DTYPES else None
            )
        if type(value) not in (np.ndarray, np.memmap):
            return None
        if value.dtype.kind in "biufcSUmM":
            return self._array(np.asarray(value), where)
        if value.dtype.kind == "O":
            items = self.value(value.ravel().tolist(), where)
            return {"type": "objects", "shape": list(value.shape), "items": items}
        return None

    def _tensor(self, tensor: Tensor, where: Where) -> dict[str, Any]:
        strides = None
        if not tensor.is_contiguous() and extent(tensor.shape, tensor.stride()):
            strides = list(tensor.stride())
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        name = self._store(where, _TORCH_DTYPES[tensor.dtype], tensor.shape, data)
        return {"type": "tensor", "tensor": name, "strides": strides}

    def _array(self, array: NDArray[Any], where: Where) -> dict[str, Any]:
        flat = np.ascontiguousarray(array).reshape(-1)
        data = flat.view(np.uint8) if flat.nbytes else np.empty(0, np.uint8)
        dtype = array.dtype.str
        node = {"type": "array", "dtype": dtype, "strides": strides_of(array)}
        if dtype in _NUMPY_DTYPES:
            name = self._store(where, _NUMPY_DTYPES[dtype], array.shape, data)
            return {**node, "tensor": name}
        name = self._store(where, "U8", data.shape, data)
        return {**node, "tensor": name, "shape": list(array.shape)}

    def _store(
        self, where: Where, dtype: str, shape: Sequence[int], data: NDArray[np.uint8]
    ) -> str:
        name = "".join(where[1:]).lstrip(".")
        if name in self.tensors:  # keys of a dict may look alike
            name += f"#{len(self.tensors)}"
        self.tensors[name] = Block(dtype, list(shape), data)
        return name

    def _object(self, value: Any, where: Where) -> Any:
        if isinstance(value, BaseEstimator):
            return self._estimator(value, where)
        if type(value) is History:
            return {"type": "History", "rows": self.value(value.rows, where)}
        if type(value) is NeighborIndex:
            return self._index(value, where)
        if RECORDS.get(type(value).__name__) is type(value):
            return self._record(value, where)
        if type(value) is np.random.RandomState:
            state: Any = value.get_state(legacy=False)
            if state["bit_generator"] == "MT19937":
                return {"type": "RandomState", "state": self.value(state, where)}
        name = name_of(value) if callable(value) else None
        if name is None:
            return None
        if self._names.setdefault(name, value) is not value:
            raise PersistenceError(
                f"{''.join(where)} cannot be stored: another object has the same name, "
                f"{name}. Give them names of their own."
            )
        return {"type": "name", "name": name}

    def _record(self, value: Any, where: Where) -> dict[str, Any]:
        fields = {it.name: getattr(value, it.name) for it in dataclasses.fields(value)}
        node = {"type": "record", "class": type(value).__name__}
        return {**node, "fields": self._named(fields, where)}

    def _index(self, index: NeighborIndex, where: Where) -> dict[str, Any]:
        if not self.include_data:
            raise PersistenceError(
                f"{''.join(where)} cannot be stored without training data: it is the "
                "training rows, by which new ones are placed. Pass include_data=True "
                "to write them to the file, or fit with placement='network', which "
                "keeps none."
            )
        arrays = self.value(index.arrays(), where)
        return {"type": "NeighborIndex", "metric": index.metric, "arrays": arrays}

    def _estimator(self, estimator: BaseEstimator, where: Where) -> dict[str, Any]:
        cls = type(estimator)
        if not is_storable(cls):
            raise PersistenceError(
                f"{''.join(where)} cannot be stored: {cls.__name__} is neither an "
                "estimator of manifoldgen, nor a subclass of one, nor one of scikit-"
                f"learn's {KNOWN}."
            )
        state = dict(vars(estimator))
        for name in state:
            check_attribute(cls, name)
        node: dict[str, Any] = {"type": "estimator", "class": class_name(cls)}
        node |= self._data(estimator, state, where)
        if isinstance(estimator, Pipeline):
            state["memory"] = None
        networks = {
            name: state.pop(name)
            for name in getattr(cls, "_networks", ())
            if isinstance(state.get(name), nn.Module)
        }
        if networks:
            _check_rebuilt(estimator, networks, where)
        node["networks"] = [
            [name, self._network(network, (*where, f".{name}"))]
            for name, network in networks.items()
        ]
        node["state"] = self._named(state, where)
        return node

    def _network(self, network: nn.Module, where: Where) -> dict[str, Any]:
        return {
            "type": "network",
            "training": network.training,
            "frozen": not any(p.requires_grad for p in network.parameters()),
            "state": self._named(network.state_dict(), where),
        }

    def _named(self, values: dict[str, Any], where: Where) -> list[Any]:
        return [[k, self.value(v, (*where, f".{k}"))] for k, v in values.items()]

    def _data(
        self, estimator: BaseEstimator, state: dict[str, Any], where: Where
    ) -> dict[str, Any]:
        """Take training data out of `state`; return nodes of those to be stored."""
        is_data = "tree_" in state and isinstance(estimator, KernelDensity)
        is_data |= "quantiles_" in state and isinstance(estimator, QuantileTransformer)
        if not self.include_data:
            for name in getattr(type(estimator), "_training_data", ()):
                state.pop(name, None)
            if is_data:
                raise PersistenceError(
                    f"{''.join(where)} cannot be stored without training data: a "
                    f"{type(estimator).__name__} is made of them. Pass "
                    "include_data=True to write them to the file."
                )
        if not is_data or "tree_" not in state:
            return {}
        tree = state.pop("tree_")
        parts = {"rows": tree.data, "weights": tree.sample_weight}
        return {
            name: self.value(None if v is None else np.asarray(v), (*where, f".{name}"))
            for name, v in parts.items()
        }


def _reason(value: Any) -> str:
    if isinstance(value, nn.Module):
        return (
            "it is a network that the class does not name in `_networks`. Pass "
            "networks as classes, not instances."
        )
    if callable(value) and getattr(value, "__name__", "") == "<lambda>":
        return "a lambda has no name to find it by. Define a function with def."
    if callable(value) and hasattr(value, "__self__"):
        return "a bound method cannot be found by name. Define a function with def."
    return f"it is a {type(value).__module__}.{type(value).__qualname__}."


def _check_rebuilt(
    estimator: Any, networks: dict[str, nn.Module], where: Where
) -> None:
    """Check that the parameters, as they are now, build networks of the fitted shapes.

    `set_params` after `fit` would otherwise give a file that cannot be loaded.
    """
    try:
        with isolated_streams(0):
            built = estimator._build_networks(0)
        same = all(_shapes(built[n]) == _shapes(net) for n, net in networks.items())
    except Exception as error:
        raise PersistenceError(f"{''.join(where)} {_CHANGED} ({error})") from error
    if not same:
        raise PersistenceError(f"{''.join(where)} {_CHANGED}")


def _shapes(network: nn.Module) -> dict[str, Any]:
    return {
        name: (value.shape, value.dtype) if isinstance(value, Tensor) else None
        for name, value in network.state_dict().items()
    }
