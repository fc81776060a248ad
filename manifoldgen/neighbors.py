"""Nearest neighbours: exact in blocks of rows, or approximate."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from ._arrays import flatten_images
from ._validation import check_int

_BLOCK = 2**22  # float64 numbers in one block of distances: 32 MB
_Block = tuple[slice, NDArray[np.float64], NDArray[np.float64]]


class Neighbors(NamedTuple):
    """Indices and distances of the nearest rows, the nearest first."""

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]


def nearest_neighbors(
    X: Any,
    n_neighbors: int,
    *,
    queries: Any = None,
    metric: str = "euclidean",
    method: str = "auto",
    device: str = "cpu",
    random_state: Any = None,
) -> Neighbors:
    """Return the nearest rows of X to each row of X or of `queries`."""
    rows = check_array(flatten_images(X)[0], dtype=np.float64, order="C")
    asked = rows
    if queries is not None:
        asked = check_array(flatten_images(queries)[0], dtype=np.float64, order="C")
    k = check_int("n_neighbors", n_neighbors, high=len(rows) - (queries is None))
    parts = []
    for block, squared, error in distance_blocks(asked, rows):
        if queries is None:
            itself = np.arange(len(rows))[block]
            squared[np.arange(len(itself)), itself] = np.inf
        rough = np.partition(squared, k - 1, axis=1)[:, [k - 1]]
        close = squared <= rough + 2 * error.max(axis=1, keepdims=True)
        recompute(squared, close, asked[block], rows)
        squared[~close] = np.inf
        order = np.argsort(squared, axis=1, kind="stable")[:, :k]
        parts.append((order, np.take_along_axis(squared, order, axis=1)))
    indices, squared = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Neighbors(indices, np.sqrt(squared))


def distance_blocks(A: NDArray[np.float64], B: NDArray[np.float64]) -> Iterator[_Block]:
    """Yield a slice of A's rows, their squared distances to B's, and error bounds.

    One matrix product gives a block many times faster than differences do, with an
    error that grows with the distance from the centre: hence the bounds.
    """
    center = B.mean(axis=0)
    a, b = A - center, B - center
    a_norms = np.einsum("ij,ij->i", a, a)
    b_norms = np.einsum("ij,ij->i", b, b)
    bound = 4 * (A.shape[1] + 4) * np.finfo(np.float64).eps
    step = max(1, _BLOCK // len(B))
    for start in range(0, len(A), step):
        rows = slice(start, start + step)
        norms = a_norms[rows, np.newaxis] + b_norms
        squared = a[rows] @ b.T
        squared *= -2.0
        squared += norms
        norms *= bound
        yield rows, squared, norms


def recompute(
    squared: NDArray[np.float64],
    where: NDArray[np.bool_],
    A: NDArray[np.float64],
    B: NDArray[np.float64],
) -> None:
    """Replace squared distances by those of the differences, which decide ties."""
    i, j = np.nonzero(where)
    step = max(1, _BLOCK // A.shape[1])
    for start in range(0, len(i), step):
        at, to = i[start : start + step], j[start : start + step]
        squared[at, to] = np.square(A[at] - B[to]).sum(axis=1)
