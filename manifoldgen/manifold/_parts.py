"""Functions that manifolds put together: ranges, foreign classes, whitening."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def check_unit_range(
    name: str, rows: NDArray[Any], top: float, choice: str, other: str
) -> None:
    low, high = rows.min(), rows.max()
    if rows.dtype != np.uint8 and (low < 0 or high > top):
        raise ValueError(
            f"{choice} needs data in [0, {top:g}], got values of {name} in "
            f"[{low:g}, {high:g}]. Put a MinMaxScaler before, or use {other}."
        )


def check_labels(y: Any, n_rows: int) -> NDArray[np.int64]:
    """Return one class a row as an int, -1 where it is unknown."""
    if y is None:
        raise ValueError(
            "y must hold one class for each row where supervised=True, got None. Pass "
            "y, with -1 where a class is unknown, or set supervised=False."
        )
    labels = np.asarray(y)
    if labels.shape != (n_rows,):
        raise ValueError(
            f"y must hold one class for each of the {n_rows} rows of X, got shape "
            f"{labels.shape}."
        )
    if labels.dtype.kind == "f" and not (labels == np.round(labels)).all():
        raise ValueError(
            "y must hold classes, -1 where unknown, got numbers that are not whole. "
            "Bin a continuous target first."
        )
    classes, codes = np.unique(labels, return_inverse=True)
    known = ~np.isin(classes.astype(str), ["-1", "-1.0"])
    return np.where(known[codes], codes, -1).astype(np.int64)


def call_class(
    name: str,
    network: Callable[..., nn.Module],
    n_in: int,
    n_out: int,
    image_shape: tuple[int, int, int],
) -> nn.Module:
    """Build a network of the user's, and say which one where it fails."""
    takes_shape = "image_shape" in inspect.signature(network).parameters
    try:
        if takes_shape:
            module = network(n_in, n_out, image_shape=image_shape)
        else:
            module = network(n_in, n_out)
    except Exception as error:
        error.add_note(f"Raised by {name}={network!r}, called with {n_in}, {n_out}.")
        raise
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"{name} must build a torch.nn.Module, got {type(module).__name__}."
        )
    return module


def whitening_of(Z: NDArray[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, whitening and colouring of latents, in float64.

    A direction without spread is left at the scale of 1e-6 of the largest, so that the
    way back exists.
    """
    mean = Z.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(Z.T, dtype=np.float64)))
    floor = max(float(values.max()), 0.0) * 1e-12
    std = np.sqrt(np.maximum(values, floor)) if floor else np.ones_like(values)
    return (
        torch.from_numpy(mean),
        torch.from_numpy(vectors / std),
        torch.from_numpy((vectors * std).T.copy()),
    )
