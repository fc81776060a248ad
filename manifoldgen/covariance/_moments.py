"""Count, mean and scatter of rows, in blocks, and their exact sums."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import map_on_threads
from ._chunks import is_array, merge_chunks, numeric_rows

_BLOCK_ROWS = 1024
_THREAD_ROWS = 16 * _BLOCK_ROWS
_FEW_PRODUCTS = 10**9  # a few milliseconds in float64


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of some rows; those of disjoint sets of rows add up.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    mean : ndarray of shape (n_features,), float64
    scatter : ndarray of shape (n_features, n_features), float64
        Sum over the rows of the outer product of ``x - mean`` with itself.
    third : ndarray of shape (n_features,), float64, or None, default=None
        Sum over the rows of ``||x - mean||² (x - mean)``, where it was asked for:
        without it `fourth` could not be merged.
    fourth : float or None, default=None
        Sum over the rows of ``||x - mean||⁴``, which Ledoit-Wolf shrinkage needs.

    References
    ----------
    .. [1] T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample
           variance", The American Statistician 37(3), 1983, Eq. (2.1).

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    >>> both = moments(rows[:2]).merge(moments(rows[2:]))
    >>> both.n_samples, both.mean
    (3, array([2., 2.]))
    >>> both.covariance
    array([[2.66666667, 2.        ],
           [2.        , 2.        ]])
    """

    n_samples: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    third: NDArray[np.float64] | None = None
    fourth: float | None = None

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The maximum-likelihood covariance, ``scatter / n_samples``."""
        return self.scatter / self.n_samples

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of these rows and the rows of `other` together.

        Their fourth powers are there where both have theirs.
        """
        total = self.n_samples + other.n_samples
        delta = other.mean - self.mean
        scatter = np.outer(delta, delta * (self.n_samples * other.n_samples / total))
        scatter += self.scatter
        scatter += other.scatter
        mean = self.mean + delta * (other.n_samples / total)
        third, fourth = self._powers_about(mean)
        third_of_other, fourth_of_other = other._powers_about(mean)
        if third is None or third_of_other is None:
            return Moments(total, mean, scatter)
        return Moments(
            total, mean, scatter, third + third_of_other, fourth + fourth_of_other
        )

    def without(self, part: "Moments") -> "Moments":
        """Return the moments of the rows that are left where `part` is taken out.

        Raises
        ------
        ValueError
            If `part` does not have fewer rows.
        """
        left = self.n_samples - part.n_samples
        if left < 1:
            raise ValueError(
                f"part must have fewer rows than the {self.n_samples} it is taken "
                f"from, got {part.n_samples}."
            )
        delta = part.mean - self.mean
        scatter = np.outer(delta, delta * (-self.n_samples * part.n_samples / left))
        scatter += self.scatter
        scatter -= part.scatter
        mean = self.mean - delta * (part.n_samples / left)
        third, fourth = part._powers_about(self.mean)
        if third is None or self.third is None or self.fourth is None:
            return Moments(left, mean, scatter)
        step = self.mean - mean
        third, fourth = shift_powers(
            (left, -left * step, scatter + left * np.outer(step, step)),
            (self.third - third, self.fourth - fourth),
            step,
        )
        return Moments(left, mean, scatter, third, fourth)

    def _powers_about(
        self, point: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64] | None, float]:
        """Return what `third` and `fourth` would be were `point` the mean."""
        if self.third is None or self.fourth is None:
            return None, 0.0
        return shift_powers(
            (self.n_samples, np.zeros_like(point), self.scatter),
            (self.third, self.fourth),
            self.mean - point,
        )


Powers = tuple[NDArray[np.float64], float]
"""Sums over rows x of ``||x||² x`` and of ``||x||⁴``."""


def shift_powers(
    sums: tuple[int, NDArray[np.float64], NDArray[np.float64]],
    powers: Powers,
    step: NDArray[np.float64],
) -> Powers:
    """Return what `powers` become where `step` is added to each row.

    Parameters
    ----------
    sums : tuple of int and two ndarrays
        Number and sum of the rows, and the sum of their outer products.
    powers : tuple of ndarray and float
        Sums over the rows of ``||x||² x`` and of ``||x||⁴``.
    step : ndarray of shape (n_features,)
    """
    n_samples, total, products = sums
    third, fourth = powers
    square, along, across = step @ step, step @ total, products @ step
    trace = np.trace(products)
    shifted = fourth + 4 * (step @ third + step @ across + square * along)
    shifted += square * (2 * trace + n_samples * square)
    third = third + 2 * across + square * total
    third += (trace + 2 * along + n_samples * square) * step
    return third, float(shifted)


def moments(X: Any, *, fourth: bool = False) -> Moments:
    """Return the moments of the rows of `X`.

    Blocks of rows, less a reference row, go through one matrix product each, and their
    sums are added up in float64. Products of float32 rows are taken in float32 where
    there are many; for data of mean 1e4 and standard deviation 1 they leave an error
    of about 1e-7 in a correlation. A constant column has exactly its mean and a
    scatter of exactly 0. Blocks are shared out over as many threads as BLAS may use;
    their sums are added in the order of the rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), or iterable of such
        Real numbers, of at least one row. An `np.memmap` is read a block at a time. Of
        an iterable, such as a generator that reads a file, one chunk is held at a time,
        and memory for little more than that and the scatter is used; the result is
        that of all rows in one array, to rounding.
    fourth : bool, default=False
        Whether to sum what Ledoit-Wolf shrinkage needs as well, in float64.

    Returns
    -------
    moments : Moments

    Raises
    ------
    TypeError
        If X is neither, or does not hold real numbers.
    ValueError
        If there is no row, chunks differ in their number of columns, or `X` holds NaN,
        infinity or squares that are too large for float64.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = (1e4 + rng.standard_normal((5000, 2))).astype(np.float32)
    >>> exact = np.cov(X.T.astype(np.float64), bias=True)
    >>> bool(abs(moments(X).covariance - exact).max() < 1e-6)
    True
    >>> chunks = (X[start : start + 700] for start in range(0, 5000, 700))
    >>> bool(np.allclose(moments(chunks).scatter, moments(X).scatter, rtol=1e-10))
    True
    """
    if is_array(X):
        rows = numeric_rows(X)
        if not len(rows):
            raise ValueError("X must have at least one row, got none.")
        return moments_of_rows(rows, fourth, "X")

    def of_chunk(chunk: Any, name: str) -> tuple[Moments | None, int]:
        rows = numeric_rows(chunk, name)
        found = moments_of_rows(rows, fourth, name) if len(rows) else None
        return found, rows.shape[1]

    return merge_chunks(X, of_chunk)


def moments_of_rows(X: NDArray[Any], fourth: bool, name: str) -> Moments:
    """Return the moments of an array that is called `name` in errors."""
    n_samples, n_features = X.shape
    reference = _reference_row(X)
    short = X.dtype in (np.float16, np.float32)
    in_float32 = short and not fourth and X.size * n_features >= _FEW_PRODUCTS
    total, scatter, powers = _sums_about(
        X, reference, np.float32 if in_float32 else np.float64, fourth
    )
    if in_float32 and _left_range(X, reference, scatter):
        total, scatter, powers = _sums_about(X, reference, np.float64, fourth)
    if not np.isfinite(scatter).all() or not np.isfinite(powers[1]):
        _refuse(X, name, fourth)
    mean = total / n_samples
    third, fourths = None, None
    if fourth:
        third, fourths = shift_powers((n_samples, total, scatter), powers, -mean)
    scatter -= np.outer(total, mean)
    return Moments(n_samples, reference + mean, scatter, third, fourths)


def _refuse(X: NDArray[Any], name: str, fourth: bool) -> None:
    """Say why sums over `X` are not finite."""
    high = max(float(X.max()), -float(X.min()))
    if not np.isfinite(high):
        raise ValueError(
            f"{name} must hold finite values, got {'NaN' if high != high else high}."
        )
    power, limit = ("fourth powers", "1e75") if fourth else ("squares", "1e150")
    raise ValueError(
        f"{name} must have values whose {power} are finite in float64 (below about "
        f"{limit}), got {high:g}. Divide {name} by a constant."
    )


def _reference_row(X: NDArray[Any]) -> NDArray[np.float64]:
    """Return zeros where no column is far from 0, else medians of three rows.

    By the median no single far row becomes the reference.
    """
    sample = X[:: -(-len(X) // 1024)]
    with np.errstate(over="ignore", invalid="ignore"):
        near_zero = np.abs(sample.mean(axis=0)) <= sample.std(axis=0)
    if near_zero.all():
        return np.zeros(X.shape[1])
    three = X[[0, len(X) // 2, -1]].astype(np.float64)
    row: NDArray[np.float64] = np.median(three, axis=0)
    return np.where(np.isfinite(row), row, 0.0)


def _left_range(
    X: NDArray[Any], reference: NDArray[np.float64], scatter: NDArray[np.float64]
) -> bool:
    """Return whether the squares of `X` over- or underflowed in float32."""
    squares = scatter.diagonal()
    if not np.isfinite(squares).all():
        return True
    small = np.flatnonzero(squares < 1e-30)
    return len(small) > 0 and any(
        (X[start : start + _BLOCK_ROWS, small] != reference[small]).any()
        for start in range(0, len(X), _BLOCK_ROWS)
    )


def _sums_about(
    X: NDArray[Any], reference: NDArray[np.float64], dtype: Any, fourth: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], Powers]:
    """Return sum, scatter and powers of ``X - reference``, products in `dtype`."""
    n_features = X.shape[1]
    total, scatter = np.zeros(n_features), np.zeros((n_features, n_features))
    third, fourths = np.zeros(n_features), 0.0
    centre = reference.astype(dtype)
    as_they_are = X.dtype == dtype and not centre.any()
    # Wide scatters are big: fewer are added up. Narrow rows are quick: calls fewer.
    n_block = max(_BLOCK_ROWS, n_features)
    if n_features * centre.itemsize <= 256:
        n_block = 2 * _BLOCK_ROWS
    ones = np.ones(n_block, dtype)

    def sums(start: int) -> tuple[NDArray[np.float64], NDArray[np.float64], Powers]:
        part = X[start : start + _THREAD_ROWS]
        part_total, part_scatter = np.zeros_like(total), np.zeros_like(scatter)
        part_third, part_fourth = np.zeros_like(third), 0.0
        buffer = np.empty((min(n_block, len(part)), n_features), dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, len(part), n_block):
                rows = part[first : first + n_block]
                if not as_they_are:
                    rows = np.subtract(rows, centre, out=buffer[: len(rows)])
                part_total += ones[: len(rows)] @ rows
                part_scatter += rows.T @ rows
                if fourth:
                    squares = np.vecdot(rows, rows)
                    part_third += squares @ rows
                    part_fourth += float(squares @ squares)
        return part_total, part_scatter, (part_third, part_fourth)

    for part_total, part_scatter, powers in map_on_threads(
        sums, range(0, len(X), _THREAD_ROWS), n_features
    ):
        total += part_total
        scatter += part_scatter
        third += powers[0]
        fourths += powers[1]
    return total, scatter, (third, fourths)
