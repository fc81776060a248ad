"""Which rows fall inside the balls around the rows of another sample."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import map_on_threads
from ..neighbors._distances import distance_blocks, squared_differences
from ..neighbors._products import product_error

_ROWS, _COLUMNS = 256, 1024  # of one tile of pairs: its products take 1 MB
_MANY = 16  # one pair in so many: products in float64 are faster than differences
_FAR = 2.0**20  # times the largest row of the other sample
_Floats = NDArray[np.float64]
_Places = NDArray[np.intp]


class Tally(NamedTuple):
    """What falls inside what: counts for the rows of B, shares for those of A.

    Parameters
    ----------
    n_balls : ndarray of shape (n_b,), int64
        How many balls around rows of A hold each row of B.
    holds : ndarray of shape (n_a,), bool
        Whether the ball around each row of A holds a row of B.
    held : ndarray of shape (n_a,), bool
        Whether any ball around a row of B holds each row of A.
    """

    n_balls: NDArray[np.int64]
    holds: NDArray[np.bool_]
    held: NDArray[np.bool_]


def tally_balls(A: _Floats, a_radii: _Floats, B: _Floats, b_radii: _Floats) -> Tally:
    """Count the pairs of A and B nearer to each other than the radius of either.

    Products in float32 tell most pairs apart; those that are within the rounding error
    of a radius, which is outside, are decided by differences in float64.
    """
    other = _Other.of(B, b_radii)

    def count(start: int) -> Tally:
        rows = slice(start, start + _ROWS)
        return _tally_rows(A[rows], a_radii[rows], other)

    n_balls = np.zeros(len(B), dtype=np.int64)
    marks = []
    for part in map_on_threads(count, range(0, len(A), _ROWS), A.shape[1]):
        n_balls += part.n_balls
        marks.append(part[1:])
    holds, held = (np.concatenate(part) for part in zip(*marks, strict=True))
    return Tally(n_balls, holds, held)


class _Other(NamedTuple):
    """Rows of B as factors of products: centred, and scaled to norms of 1 at most."""

    rows: _Floats
    radii: _Floats
    center: _Floats
    scale: float
    right: NDArray[np.float32]
    half_squares: NDArray[np.float32]  # of the radii, scaled

    @classmethod
    def of(cls, B: _Floats, radii: _Floats) -> "_Other":
        center = B.mean(axis=0)
        right = np.empty((len(B), B.shape[1] + 1), dtype=np.float32)
        size = max(
            float(np.linalg.norm(B[at : at + _ROWS] - center, axis=1).max())
            for at in range(0, len(B), _ROWS)
        )
        scale = 2.0 ** -np.ceil(np.log2(size)) if size > 0 else 1.0
        for at in range(0, len(B), _ROWS):
            rows = (B[at : at + _ROWS] - center) * scale
            right[at : at + _ROWS, :-1] = rows
            right[at : at + _ROWS, -1] = np.square(rows).sum(axis=1) / -2
        half = (np.square(radii * scale) / 2).astype(np.float32)
        return cls(B, radii, center, scale, right, half)


def _tally_rows(A: _Floats, a_radii: _Floats, other: _Other) -> Tally:
    """Return the tally of a few rows of A with all of B, tile by tile."""
    left, squares, error = _left_factors(A, other)
    with np.errstate(over="ignore", invalid="ignore"):
        reach = (squares - np.square(a_radii * other.scale)) / 2
    n_balls = np.zeros(len(other.rows), dtype=np.int64)
    holds, held = np.zeros((2, len(A)), dtype=bool)
    for first in range(0, len(other.rows), _COLUMNS):
        columns = slice(first, first + _COLUMNS)
        B, b_radii = other.rows[columns], other.radii[columns]
        # (a.a - |a - b|**2) / 2, to be compared with (a.a - radius**2) / 2
        values = left @ other.right[columns].T
        i, j = _above(values, reach, error, A, B, a_radii[:, np.newaxis])
        n_balls[columns] = np.bincount(j, minlength=len(B))
        holds[i] = True
        values += other.half_squares[columns]
        i, _ = _above(values, squares / 2, error, A, B, b_radii)
        held[i] = True
    return Tally(n_balls, holds, held)


def _left_factors(
    A: _Floats, other: _Other
) -> tuple[NDArray[np.float32], _Floats, _Floats]:
    """Return factors of products with B, squares of the rows, and error bounds."""
    centered = (A - other.center) * other.scale
    with np.errstate(over="ignore"):
        squares = np.square(centered).sum(axis=1)
    far = squares > _FAR**2
    centered[far], squares[far] = 0.0, 0.0
    left = np.ones((len(A), A.shape[1] + 1), dtype=np.float32)
    left[:, :-1] = centered
    # 16 terms more than the product has are for the radius, of 2 at most, added to it
    error = product_error(A.shape[1] + 16, 2.0**-24) * (np.sqrt(squares) + 1.0)
    error[far] = np.inf  # whose pairs float64 decides
    return left, squares, error


def _above(
    values: NDArray[np.float32],
    least: _Floats,
    error: _Floats,
    A: _Floats,
    B: _Floats,
    radii: _Floats,
) -> tuple[_Places, _Places]:
    """Return the pairs whose value exceeds the least of their row, as if exact.

    `radii`, of each row or of each column, decide about those within the error.
    """
    far = np.isinf(error)
    least = np.where(far, 0.0, least)
    low, high = (
        np.clip(least + margin, -(2.0**60), 2.0**60).astype(np.float32)
        for margin in (-error, error)
    )
    low[far], high[far] = -np.inf, np.inf
    low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    flat = np.flatnonzero(values >= low[:, np.newaxis])
    i, j = np.divmod(flat, values.shape[1])
    inside = values.ravel()[flat] > high[i]
    close = np.flatnonzero(~inside)
    if len(close):
        at = i[close], j[close]
        limits = np.broadcast_to(radii, values.shape)[at]
        inside[close] = _distances(A, at[0], B, at[1], limits) < limits
    return i[inside], j[inside]


def _distances(
    A: _Floats, i: _Places, B: _Floats, j: _Places, limits: _Floats
) -> _Floats:
    """Return the distances of pairs, those near their limits by differences."""
    if len(i) * _MANY <= len(A) * len(B):
        return np.sqrt(squared_differences(A, i, B, j))
    squared, error = np.empty((2, len(A), len(B)))
    for rows, *block in distance_blocks(A, B):
        squared[rows], error[rows] = block
    values = np.maximum(squared[i, j], 0.0)
    close = np.abs(values - np.square(limits)) <= 2 * error[i, j]
    values[close] = squared_differences(A, i[close], B, j[close])
    return np.sqrt(values)
