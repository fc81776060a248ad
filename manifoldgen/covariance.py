"""Streaming moments, shrinkage, whitening and squared Mahalanobis distances."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, rq, solve_triangular

from ._threads import map_on_threads, narrow_blas

_BLOCK_ROWS = 1024
_THREAD_ROWS = 16 * _BLOCK_ROWS
_PADDED_ROWS, _PADDED_COLUMNS = 256, 16
_PANELS = 4
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

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The maximum-likelihood covariance, ``scatter / n_samples``."""
        return self.scatter / self.n_samples

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of these rows and the rows of `other` together."""
        total = self.n_samples + other.n_samples
        delta = other.mean - self.mean
        scatter = np.outer(delta, delta * (self.n_samples * other.n_samples / total))
        scatter += self.scatter
        scatter += other.scatter
        return Moments(total, self.mean + delta * (other.n_samples / total), scatter)

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
        return Moments(left, self.mean - delta * (part.n_samples / left), scatter)


def moments(X: NDArray[Any]) -> Moments:
    """Return the moments of the rows of `X`.

    Blocks of rows, less a reference row, go through one matrix product each, and their
    sums are added up in float64. Products of float32 rows are taken in float32 where
    there are many; for data of mean 1e4 and standard deviation 1 they leave an error
    of about 1e-7 in a correlation. A constant column has exactly its mean and a
    scatter of exactly 0. Blocks are shared out over as many threads as BLAS may use;
    their sums are added in the order of the rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        At least one row.

    Returns
    -------
    moments : Moments

    Raises
    ------
    ValueError
        If the squares of `X` are too large for float64.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = (1e4 + rng.standard_normal((5000, 2))).astype(np.float32)
    >>> exact = np.cov(X.T.astype(np.float64), bias=True)
    >>> bool(abs(moments(X).covariance - exact).max() < 1e-6)
    True
    """
    reference = _reference_row(X)
    few = X.size * X.shape[1] < _FEW_PRODUCTS
    total, scatter = _sums_about(X, reference, np.float64 if few else X.dtype)
    if X.dtype != np.float64 and _left_range(X, reference, scatter):
        total, scatter = _sums_about(X, reference, np.float64)
    if not np.isfinite(scatter).all():
        raise ValueError(
            "X must have values whose squares are finite in float64 (below about "
            f"1e150), got {np.abs(X).max():g}. Divide X by a constant."
        )
    n_samples = len(X)
    scatter -= np.outer(total, total / n_samples)
    return Moments(n_samples, reference + total / n_samples, scatter)


def _reference_row(X: NDArray[Any]) -> NDArray[Any]:
    """Return zeros where no column is far from 0, else medians of three rows.

    By the median no single far row becomes the reference.
    """
    sample = X[:: max(1, len(X) // 1024)]
    with np.errstate(over="ignore"):
        near_zero = np.abs(sample.mean(axis=0)) <= sample.std(axis=0)
    if near_zero.all():
        return np.zeros(X.shape[1], X.dtype)
    return np.median(X[[0, len(X) // 2, -1]], axis=0).astype(X.dtype)


def _left_range(
    X: NDArray[Any], reference: NDArray[Any], scatter: NDArray[np.float64]
) -> bool:
    """Return whether the squares of `X` over- or underflowed in float32."""
    squares = scatter.diagonal()
    if not np.isfinite(squares).all():
        return True
    small = squares < 1e-30
    return bool(small.any() and (X[:, small] != reference[small]).any())


def _sums_about(
    X: NDArray[Any], reference: NDArray[Any], dtype: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sum and scatter of ``X - reference``, its products taken in `dtype`."""
    n_features = X.shape[1]
    total, scatter = np.zeros(n_features), np.zeros((n_features, n_features))
    centre = reference.astype(dtype)
    as_they_are = X.dtype == dtype and not centre.any()
    # Wide scatters are big: fewer are added up.
    n_block = max(_BLOCK_ROWS, n_features)
    ones = np.ones(n_block, dtype)

    def sums(start: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        part = X[start : start + _THREAD_ROWS]
        part_total, part_scatter = np.zeros_like(total), np.zeros_like(scatter)
        buffer = np.empty((min(n_block, len(part)), n_features), dtype)
        for first in range(0, len(part), n_block):
            block = part[first : first + n_block]
            rows = block
            if not as_they_are:
                rows = np.subtract(block, centre, out=buffer[: len(block)])
            with np.errstate(over="ignore", invalid="ignore"):
                part_total += ones[: len(rows)] @ rows
                part_scatter += rows.T @ rows
        return part_total, part_scatter

    for part_total, part_scatter in map_on_threads(
        sums, range(0, len(X), _THREAD_ROWS), n_features
    ):
        total += part_total
        scatter += part_scatter
    return total, scatter


def oas_shrinkage(covariance: NDArray[np.float64], n_samples: int) -> float:
    """Return how far Oracle Approximating Shrinkage moves a covariance to a sphere.

    ``((1 - 2/d) tr(S²) + tr(S)²) / ((n + 1 - 2/d) (tr(S²) - tr(S)² / d))``, at most 1,
    is the weight of ``tr(S)/d I``; it minimises the expected squared error for
    Gaussian rows. It is for columns of one unit: scale those of different units first.

    Parameters
    ----------
    covariance : ndarray of shape (n_features, n_features)
        The maximum-likelihood covariance S.
    n_samples : int
        The number n of rows that it comes from.

    Returns
    -------
    shrinkage : float
        In [0, 1]; 0 for one feature, where the target is the covariance itself.

    References
    ----------
    .. [1] Y. Chen, A. Wiesel, Y. Eldar, A. Hero, "Shrinkage algorithms for MMSE
           covariance estimation", IEEE Trans. Signal Processing 58(10), 2010,
           arXiv:0907.4698, Eq. (23). `sklearn.covariance.OAS` leaves out both
           ``2/d``, so its shrinkage is the larger by at most 1 part in ``d - 1``, or
           the smaller by about 2 parts in ``d n``.

    Examples
    --------
    >>> import numpy as np
    >>> round(oas_shrinkage(np.diag([3.0, 1.0]), n_samples=9), 6)
    0.888889
    """
    n_features = len(covariance)
    if n_features == 1:
        return 0.0
    # Relative to the trace, so that no unit of the data over- or underflows a square.
    trace = float(np.trace(covariance))
    if trace <= 0:
        return 1.0
    square = float(np.sum(np.square(covariance / trace)))
    numerator = (1 - 2 / n_features) * square + 1
    denominator = (n_samples + 1 - 2 / n_features) * (square - 1 / n_features)
    return 1.0 if denominator <= numerator else numerator / denominator


def shrink(covariance: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    """Return ``(1 - shrinkage) covariance + shrinkage tr(covariance)/d I``.

    Examples
    --------
    >>> import numpy as np
    >>> shrink(np.diag([3.0, 1.0]), 0.5)
    array([[2.5, 0. ],
           [0. , 1.5]])
    """
    shrunk = (1 - shrinkage) * covariance
    shrunk.flat[:: len(covariance) + 1] += (
        shrinkage * np.trace(covariance) / len(covariance)
    )
    return shrunk


def ridge_variances(
    covariance: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """Return what the ridge adds to the variance of each column.

    It is ``ridge`` times the column's own variance, and at least ``ridge²`` times the
    mean variance ``tr/d`` (1 where the trace is 0); so it follows every unit of the
    data, and a constant column has a variance too, if a very small one.

    Parameters
    ----------
    covariance : ndarray of shape (n_features, n_features)
    ridge : float
        Dimensionless, >= 0.

    Returns
    -------
    variances : ndarray of shape (n_features,), float64
        In squared units of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> ridge_variances(np.diag([4.0, 0.0]), 1e-3)
    array([4.e-03, 2.e-06])
    """
    mean_variance = np.trace(covariance) / len(covariance)
    floor = ridge * (mean_variance if mean_variance > 0 else 1.0)
    return ridge * np.maximum(covariance.diagonal(), floor)


def whitening_matrix(
    covariance: NDArray[np.float64], ridge: float = 1e-6
) -> tuple[NDArray[np.float64], float]:
    """Return W with ``W Wᵀ`` the inverse of the covariance plus a ridge.

    Squared Mahalanobis distances are then ``||(x - mean) W||²``. The factor is taken
    in the scale of the columns, by Cholesky or, where rounding has made the matrix
    indefinite, from its eigenvalues, none below the ridge. A direction without
    variance gets the variance of the ridge, where a pseudo-inverse would leave it out
    and give a row that is far off the span of the data a distance of 0.

    Parameters
    ----------
    covariance : ndarray of shape (n_features, n_features)
        Symmetric and positive semi-definite, to rounding.
    ridge : float, default=1e-6
        As in `ridge_variances`.

    Returns
    -------
    whitening : ndarray of shape (n_features, n_features), float64
        Upper triangular.
    log_determinant : float
        Of the covariance with the ridge, in nats.

    Examples
    --------
    >>> import numpy as np
    >>> whitening, log_determinant = whitening_matrix(np.diag([4.0, 1.0]), ridge=0)
    >>> whitening
    array([[0.5, 0. ],
           [0. , 1. ]])
    >>> round(log_determinant, 6)
    1.386294
    """
    added = ridge_variances(covariance, ridge)
    variances = np.maximum(covariance.diagonal(), 0.0) + added
    scale = np.sqrt(np.where(variances > 0, variances, 1.0))
    regular = covariance / np.outer(scale, scale)
    np.fill_diagonal(regular, 1.0)
    with narrow_blas(len(scale)):
        root = _inverse_root(regular, ridge)
    whitening = np.ascontiguousarray(root / scale[:, None])
    # The determinant of a triangular matrix is the product of its diagonal.
    return whitening, -2 * float(np.log(np.abs(whitening.diagonal())).sum())


def _inverse_root(matrix: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Return upper triangular R with ``R Rᵀ`` the inverse of a symmetric matrix.

    An indefinite matrix is first made definite: no eigenvalue is below `least`.
    """
    try:
        lower = cholesky(matrix, lower=True)
        return solve_triangular(lower, np.eye(len(matrix)), lower=True).T
    except np.linalg.LinAlgError:
        values, vectors = eigh(matrix)
        values = np.maximum(values, max(least, len(matrix) * np.finfo(float).eps))
        return rq(vectors / np.sqrt(values), mode="r")


def squared_distances(
    X: NDArray[Any], location: NDArray[np.float64], whitening: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``||(x - location) W||²`` of each row.

    A row's distance does not depend, to the bit, on the rows that come with it: the
    products are taken in blocks of one shape, padded with zeros. In float64, because
    the float32 kernels of some processors round a row by its place in the block.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        Finite values.
    location : ndarray of shape (n_features,)
    whitening : ndarray of shape (n_features, n_features)
        Upper triangular, as from `whitening_matrix`.

    Returns
    -------
    distances : ndarray of shape (n_samples,), float64
        Dimensionless; of Gaussian rows about chi-squared with n_features degrees of
        freedom. Infinite where it is too large for float64.

    Examples
    --------
    >>> import numpy as np
    >>> squared_distances(np.array([[3.0, 1.0]]), np.array([1.0, 1.0]), np.eye(2))
    array([4.])
    """
    n_features = len(location)
    factor = _padded(whitening)
    # The lower triangle is zero, so a panel of columns needs the columns up to it.
    edges = _PADDED_COLUMNS * np.linspace(
        0, len(factor) // _PADDED_COLUMNS, _PANELS + 1, dtype=int
    )

    def distances(start: int) -> NDArray[np.float64]:
        part = X[start : start + _THREAD_ROWS]
        out = np.empty(-(-len(part) // _PADDED_ROWS) * _PADDED_ROWS)
        centred = np.zeros((_PADDED_ROWS, len(factor)))
        white = np.empty_like(centred)
        for first in range(0, len(part), _PADDED_ROWS):
            rows = part[first : first + _PADDED_ROWS]
            centred[: len(rows), :n_features] = rows
            centred[: len(rows), :n_features] -= location
            centred[len(rows) :] = 0
            with np.errstate(over="ignore", invalid="ignore"):
                for left, right in pairwise(edges):
                    np.matmul(
                        centred[:, :right],
                        factor[:right, left:right],
                        out=white[:, left:right],
                    )
                squares = np.einsum("ij,ij->i", white, white)
            out[first : first + _PADDED_ROWS] = squares
        out[np.isnan(out)] = np.inf
        return out[: len(part)]

    starts = range(0, len(X), _THREAD_ROWS)
    return np.concatenate(list(map_on_threads(distances, starts, n_features)))


def _padded(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a square matrix with rows and columns of zeros up to a round number."""
    n = len(matrix)
    missing = -n % _PADDED_COLUMNS
    return np.pad(matrix, (0, missing)) if missing else matrix


def leave_one_out(
    distances: NDArray[np.float64], n_samples: int, shrinkage: float = 0.0
) -> NDArray[np.float64]:
    """Return what the distances of training rows would be had each been left out.

    A row pulls mean and covariance towards itself, so rows that moments come from are
    nearer than new ones, by much where there are few rows to a column. Removing one is
    a rank-one change of the scatter, whose effect has a closed form: exact without
    shrinkage; with it, the target and its weight are taken to stay as they are. The
    ridge is left out.

    Parameters
    ----------
    distances : ndarray of shape (n,)
        Squared distances of some of the rows that the moments come from.
    n_samples : int
        Number of all rows that they come from, >= 2.
    shrinkage : float, default=0.0
        Weight of the target in the covariance, in [0, 1].

    Returns
    -------
    distances : ndarray of shape (n,), float64
        Very large where the row is alone in spanning a direction.

    References
    ----------
    .. [1] J. Sherman, W. Morrison, "Adjustment of an inverse matrix corresponding to a
           change in one element of a given matrix", Ann. Math. Statist. 21(1), 1950.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([0.0, 1.0, 3.0, 4.0])
    >>> others = rows[1:]
    >>> exact = (rows[0] - others.mean()) ** 2 / others.var()
    >>> distance = (rows[0] - rows.mean()) ** 2 / rows.var()
    >>> bool(np.isclose(leave_one_out(np.array([distance]), 4), exact))
    True
    """
    rest = n_samples / (n_samples - 1)
    share = distances / n_samples
    left = np.maximum(1 - (1 - shrinkage) * rest * share, np.finfo(float).eps)
    return n_samples * rest * share / left
