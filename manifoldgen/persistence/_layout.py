"""How an array lies in memory, which decides how its products round."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_SPREAD = 64


def extent(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """Return how many items a layout spans, None where it is not worth keeping.

    That is where items overlap, or where gaps make it over 64 times as large as its
    items.

    Parameters
    ----------
    shape, strides : sequence of int
        Strides in items, of any sign.

    Examples
    --------
    >>> extent((3, 2), (1, 3))
    6
    >>> extent((3, 2), (0, 1)) is None
    True
    """
    if len(shape) != len(strides):
        return None
    span, size = 1, 1
    for step, n in sorted(zip(map(abs, strides), shape, strict=True)):
        if n > 1 and step < span:
            return None
        span += step * (n - 1)
        size *= n
    return span if 0 < size and span <= _MAX_SPREAD * size else None


def strides_of(array: NDArray[Any]) -> list[int] | None:
    """Return the strides of `array` in items, None where it is to be contiguous."""
    if array.flags.c_contiguous or any(s % array.itemsize for s in array.strides):
        return None
    strides = [s // array.itemsize for s in array.strides]
    return None if extent(array.shape, strides) is None else strides


def laid_out(array: NDArray[Any], strides: Sequence[int] | None) -> NDArray[Any]:
    """Return `array` copied to `strides`, or as it is for None.

    Examples
    --------
    >>> laid_out(np.arange(6.0).reshape(3, 2), (-1, 3)).strides
    (-8, 24)
    """
    if strides is None:
        return array
    span = extent(array.shape, strides)
    if span is None:
        raise ValueError(f"strides {strides} do not fit the shape {array.shape}")
    axes = list(zip(strides, array.shape, strict=True))
    start = sum(-step * (n - 1) for step, n in axes if step < 0)
    out: NDArray[Any] = np.ndarray(
        array.shape,
        array.dtype,
        np.empty(span, array.dtype),
        start * array.itemsize,
        [step * array.itemsize for step in strides],
    )
    out[...] = array
    return out
