"""Euclidean distances by matrix products, with bounds of their rounding errors."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2**22  # float64 numbers in one block of distances: 32 MB
_Block = tuple[slice, NDArray[np.float64], NDArray[np.float64]]


class Neighbors(NamedTuple):
    """Nearest rows, by name; the nearest first, of equally near ones the lower index.

    Parameters
    ----------
    indices : ndarray of shape (n_queries, n_neighbors), int64
        Which rows they are.
    distances : ndarray of shape (n_queries, n_neighbors), float64
        How far they are, in the units of the columns.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]


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
    squared[i, j] = squared_differences(A, i, B, j)


def squared_differences(
    A: NDArray[Any], i: NDArray[np.intp], B: NDArray[Any], j: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the squared distances of the rows ``A[i]`` and ``B[j]``, pair by pair.

    Each is the same to the last bit whichever pairs are beside it, and 0 only between
    equal rows.
    """
    squared = np.empty(len(i))
    step = max(1, _BLOCK // (8 * A.shape[1]))
    for start in range(0, len(i), step):
        pairs = slice(start, start + step)
        gaps = np.subtract(A[i[pairs]], B[j[pairs]], dtype=np.float64)
        squared[pairs] = np.square(gaps, out=gaps).sum(axis=1)
    return squared


def nearest_pairs(
    i: NDArray[np.intp], j: NDArray[np.intp], squared: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the k nearest of the pairs (i, j) of each i, by distance, then by j.

    Every i from 0 to the largest has k pairs at least.
    """
    order = np.lexsort((j, squared, i))
    starts = np.searchsorted(i[order], np.arange(int(i.max()) + 1))
    order = order[starts[:, np.newaxis] + np.arange(k)]
    return j[order].astype(np.int64, copy=False), squared[order]


def nearest_in_float64(
    A: NDArray[np.float64], B: NDArray[Any], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the k rows of B nearest to each row of A, and squared distances."""
    B = np.asarray(B, dtype=np.float64)
    parts = []
    for rows, squared, error in distance_blocks(A, B):
        rough = np.partition(squared, k - 1, axis=1)[:, [k - 1]]
        i, j = np.nonzero(squared <= rough + 2 * error.max(axis=1, keepdims=True))
        parts.append(nearest_pairs(i, j, squared_differences(A[rows], i, B, j), k))
    indices, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
    return indices, distances


def without_itself(
    indices: NDArray[np.int64], squared: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the lists of k + 1 neighbours of all rows less the row that each is of."""
    n, k = indices.shape[0], indices.shape[1] - 1
    other = indices != np.arange(n)[:, np.newaxis]
    # a row with more duplicates than that may not be in its own list
    other[other.all(axis=1), -1] = False
    return indices[other].reshape(n, k), squared[other].reshape(n, k)
