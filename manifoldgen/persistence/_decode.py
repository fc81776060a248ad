"""From a tree of JSON and its tensors back to an estimator."""

import contextlib
import functools
import inspect
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .._random import isolated_streams
from ..base import BaseTorchEstimator, resolve_device
from ..neighbors import NeighborIndex
from ..training.history import History
from ._layout import extent, laid_out
from ._trust import RECORDS, check_attribute, is_storable, known_class


class Decoder:
    """Turns nodes of the tree into values; raises any Exception for a bad node.

    Parameters
    ----------
    tensors : dict of str to Tensor
        What the nodes name.
    objects : dict of str to class or function
        What foreign names stand for.
    device : str or None
        Where networks go; None is where they were.
    """

    def __init__(
        self, tensors: dict[str, Tensor], objects: dict[str, Any], device: str | None
    ) -> None:
        self.tensors = tensors
        self.objects = objects
        self.device = device

    def value(self, node: Any) -> Any:
        """Return the value of a node."""
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if isinstance(node, list):
            return [self.value(part) for part in node]
        match node["type"]:
            case "float":
                return float(node["value"])
            case "complex":
                return complex(node["value"])
            case "bytes":
                return bytes.fromhex(node["value"])
            case "path":
                return Path(node["value"])
            case "device":
                return torch.device(node["value"])
            case "scalar":
                return _scalar(_dtype(node["dtype"]), self.value(node["value"]))
            case "tuple":
                return tuple(self.value(node["items"]))
            case "dict":
                return {self.value(k): self.value(v) for k, v in node["items"]}
            case "array":
                return laid_out(self._array(node), node["strides"])
            case "tensor":
                return _tensor_laid_out(self._tensor(node), node["strides"])
            case "objects":
                return _object_array(self.value(node["items"]), node["shape"])
            case _:
                return self._object(node)

    def _object(self, node: dict[str, Any]) -> Any:
        match node["type"]:
            case "estimator":
                return self._estimator(node)
            case "name":
                return self.objects[node["name"]]
            case "partial":
                function = self.value(node["function"])
                keywords = self.value(node["keywords"])
                arguments = self.value(node["arguments"])
                return functools.partial(function, *arguments, **keywords)
            case "RandomState":
                return _random_state(self.value(node["state"]))
            case "History":
                return History(self.value(node["rows"]))
            case "record":
                fields = {name: self.value(part) for name, part in node["fields"]}
                return RECORDS[node["class"]](**fields)
            case "NeighborIndex":
                arrays = self.value(node["arrays"])
                return NeighborIndex.from_arrays(arrays, metric=node["metric"])
            case _:
                raise ValueError(f"unknown type {node['type']!r}")

    def _tensor(self, node: dict[str, Any]) -> Tensor:
        tensor = self.tensors[node["tensor"]]
        # numpy's masks rely on truth values being 0 or 1; a file may hold any byte.
        return tensor.view(torch.uint8) != 0 if tensor.dtype == torch.bool else tensor

    def _array(self, node: dict[str, Any]) -> NDArray[Any]:
        dtype = _dtype(node["dtype"])
        data = self._tensor(node).numpy()
        if "shape" not in node:
            if data.dtype != dtype:
                raise ValueError(f"a tensor of {data.dtype} in place of {dtype}")
            return data
        if dtype.kind == "U" and (data.view(f"{dtype.str[0]}u4") > 0x10FFFF).any():
            raise ValueError("a string of characters that do not exist")
        return data.view(dtype).reshape(node["shape"])

    def _estimator(self, node: dict[str, Any]) -> BaseEstimator:
        cls = known_class(node["class"]) or self.objects[node["class"]]
        if not isinstance(cls, type) or not is_storable(cls):
            raise ValueError(f"{node['class']} is no class of estimators")
        for name, _ in node["state"]:
            check_attribute(cls, name)
        state = {name: self.value(part) for name, part in node["state"]}
        if issubclass(cls, BaseTorchEstimator) and "device_" in state:
            state["device_"] = str(self.device or resolve_device(state["device_"]))
        if issubclass(cls, Pipeline):
            state["memory"] = None  # joblib would unpickle what lies there
        estimator = _constructed(cls, state)
        if node["networks"]:
            self._restore_networks(estimator, node["networks"])
        if isinstance(estimator, KernelDensity) and "rows" in node:
            names = KernelDensity().get_params()
            fresh = KernelDensity(**{name: getattr(estimator, name) for name in names})
            fresh.fit(
                self.value(node["rows"]), sample_weight=self.value(node["weights"])
            )
            estimator.tree_ = fresh.tree_
        return estimator

    def _restore_networks(self, estimator: Any, nodes: list[Any]) -> None:
        states = {
            name: {key: self.value(part) for key, part in node["state"]}
            for name, node in nodes
        }
        if not set(states) <= set(type(estimator)._networks):
            raise ValueError(f"{sorted(states)} are no networks of this class")
        stored = [tensor for state in states.values() for tensor in state.values()]
        # A network of the user's may make large tables; one of ours has no reason to.
        budget = contextlib.nullcontext() if self.objects else _Budget(stored)
        with isolated_streams(0), budget:
            built = estimator._build_networks(0)
        for name, node in nodes:
            network = built[name]
            network.load_state_dict(states[name])
            network.train(bool(node["training"]))
            if node["frozen"]:
                network.requires_grad_(False)
            setattr(estimator, name, network.to(vars(estimator).get("device_", "cpu")))


class _Budget(TorchFunctionMode):
    """Ends the building of networks far larger than what the file stores of them.

    It steps in after a tensor is reserved and before it is filled.
    """

    def __init__(self, stored: Iterable[Any]) -> None:
        super().__init__()
        sizes = [tensor.numel() for tensor in stored if isinstance(tensor, Tensor)]
        self.left = 10**7 + 50 * sum(1000 + size for size in sizes)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.left -= 1000 + result.numel()
            if self.left < 0:
                raise ValueError("networks much larger than the weights stored")
        return result


def _constructed(cls: type, state: dict[str, Any]) -> Any:
    """Return an instance with the attributes `state`, as its constructor begins it."""
    takes = inspect.signature(cls).parameters
    estimator = cls(**{name: v for name, v in state.items() if name in takes})
    vars(estimator).update(state)
    return estimator


def _tensor_laid_out(tensor: Tensor, strides: Sequence[int] | None) -> Tensor:
    if strides is None:
        return tensor
    if min(strides) < 0 or extent(tensor.shape, strides) is None:
        raise ValueError(f"strides {strides} do not fit the shape {tensor.shape}")
    out = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype)
    return out.copy_(tensor)


def _scalar(dtype: np.dtype[Any], value: Any) -> Any:
    """Return a numpy scalar; an int would ask for as many bytes of text."""
    if dtype.kind in "SU" and not isinstance(value, bytes | str):
        raise ValueError(f"a scalar of dtype {dtype} cannot hold {value!r}.")
    return dtype.type(value)


def _dtype(text: str) -> np.dtype[Any]:
    if re.fullmatch(r"[<>|][biufcSUmM]\d{0,10}(\[\w{1,10}\])?", text) is None:
        raise ValueError(f"{text!r} is no dtype")
    return np.dtype(text)


def _object_array(items: list[Any], shape: Sequence[int]) -> NDArray[Any]:
    if len(items) != math.prod(shape):
        raise ValueError(f"{len(items)} objects in an array of shape {shape}")
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array.reshape(shape)


def _random_state(state: dict[str, Any]) -> np.random.RandomState:
    key, position = state["state"]["key"], state["state"]["pos"]
    # numpy reads at `pos` without looking whether it lies in the key.
    if key.shape != (624,) or key.dtype != np.uint32 or position not in range(625):
        raise ValueError("it holds no state of a Mersenne Twister")
    random_state = np.random.RandomState(0)
    random_state.set_state(state)
    return random_state
