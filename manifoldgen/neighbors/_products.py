"""Products of rows that grow as their distance falls, and the largest of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEW_COLUMNS = 64  # are multiplied whole
_HELD = 0.98  # share of their squares that the axes hold
Pairs = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]


def leading_axes(rows: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return orthonormal columns that hold most of the rows' squares, if few do."""
    if rows.shape[1] <= _FEW_COLUMNS:
        return None
    squares, left = np.linalg.eigh(rows @ rows.T)
    if squares[-1] <= 0:
        return None
    held = squares[::-1].cumsum() / squares.sum()
    n_axes = int(np.searchsorted(held, _HELD)) + 1
    if n_axes > rows.shape[1] // 3:
        return None
    axes, _ = np.linalg.qr(rows.T @ left[:, -n_axes:])
    return axes


def project(
    rows: NDArray[np.float64], axes: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return coordinates on axes and the length of what is left, if there are axes.

    By Cauchy and Schwarz a product of such rows is at least that of whole ones.
    """
    if axes is None:
        return rows
    on_axes = rows @ axes
    left = np.square(rows).sum(axis=1) - np.square(on_axes).sum(axis=1)
    return np.column_stack([on_axes, np.sqrt(np.maximum(left, 0.0))])


def product_error(d: int, rounding: float) -> float:
    """Return the error of a product for a query of norm 0 and rows of norm 1 at most.

    The casts of a query and of a row err by u each, that of the norm and its sum by
    1.5 u, and a sum of d + 1 products in any order by (d + 1) u, with u the
    `rounding` of a number; all is doubled for what is of second order.
    """
    return 2.0 * (d + 5) * rounding


def bound_from_below(values: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """Return a number that k values of each column reach, near the largest such."""
    n, n_columns = values.shape
    size = n // (8 * k)  # with 8 groups to one of the k largest, few share a group
    if size > 1:
        groups = values[: n - n % size].reshape(size, n // size, n_columns)
        values = groups.max(axis=0)
    columns = np.ascontiguousarray(values.T)
    at = columns.shape[1] - k
    return np.partition(columns, at, axis=1)[:, at].astype(np.float64)


def at_least(
    values: NDArray[np.float32], least: NDArray[np.float64], start: int
) -> Pairs:
    """Return column, row and value of those that reach the least of their column."""
    # rounded towards less, or the comparison in float32 may lose one
    limit = np.nextafter(least.astype(np.float32), np.float32(-np.inf))
    flat = np.flatnonzero(values >= limit)
    j, i = np.divmod(flat, values.shape[1])
    return i, j + start, values.ravel()[flat]


def kth_largest(
    i: NDArray[np.intp], values: NDArray[Any], k: int, n: int
) -> NDArray[np.float64]:
    """Return the k-th largest of the values of each i from 0 to n - 1."""
    order = np.argsort(i.astype(np.uint16), kind="stable")  # radix sort
    counts = np.bincount(i, minlength=n)
    ends = counts.cumsum()
    offsets = np.arange(len(i)) - np.repeat(ends - counts, counts)
    table = np.full((n, int(counts.max())), -np.inf, dtype=values.dtype)
    table[i[order], offsets] = values[order]
    at = table.shape[1] - k
    return np.partition(table, at, axis=1)[:, at].astype(np.float64)
