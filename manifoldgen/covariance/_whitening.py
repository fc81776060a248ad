"""Ridge, whitening and squared Mahalanobis distances."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, rq, solve_triangular

from .._threads import map_on_threads, narrow_blas

_THREAD_ROWS = 16 * 1024
_PADDED_COLUMNS = 16
_PANELS = 4

Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""What is made of a block of rows, a row for a row."""


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
    return ridge_of(covariance.diagonal(), ridge)


def ridge_of(variances: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return what `ridge_variances` does, from the variances of the columns alone."""
    mean_variance = variances.mean()
    floor = ridge * (mean_variance if mean_variance > 0 else 1.0)
    added: NDArray[np.float64] = ridge * np.maximum(variances, floor)
    return added


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
    distances = map_blocks(X, location, partial(_distances_kernel, whitening))
    distances[np.isnan(distances)] = np.inf
    return distances


def whiten(
    X: NDArray[Any], location: NDArray[np.float64], whitening: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``(x - location) W`` of each row, the same to the bit in every batch.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        Finite values.
    location : ndarray of shape (n_features,)
    whitening : ndarray of shape (n_features, n_features)
        Upper triangular, as from `whitening_matrix`.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features), float64
        Their squared norms are the `squared_distances`.

    Examples
    --------
    >>> import numpy as np
    >>> whiten(np.array([[3.0, 1.0]]), np.array([1.0, 1.0]), np.eye(2))
    array([[2., 0.]])
    """
    kernel = partial(_whitening_kernel, whitening)
    return map_blocks(X, location, kernel, (len(location),))


def map_blocks(
    X: NDArray[Any],
    location: NDArray[np.float64],
    new_kernel: Callable[[], Kernel],
    shape: tuple[int, ...] = (),
) -> NDArray[np.float64]:
    """Return what a kernel makes of the rows of ``X - location``.

    It is given blocks of `padded_rows` rows and `padded_width` columns, zeros where
    there is no more, so that a row has one answer whatever comes with it. Blocks are
    shared out over threads, each with a kernel, and so with buffers, of its own.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    location : ndarray of shape (n_features,)
    new_kernel : callable
        Returns a kernel, which takes a block, that it must not change, and returns an
        array of shape (padded_rows, *shape).
    shape : tuple of int, default=()
        Of what the kernel returns for a row.

    Returns
    -------
    rows : ndarray of shape (n_samples, *shape), float64

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2.0], [3.0, 5.0]])
    >>> map_blocks(X, np.ones(2), lambda: lambda block: block.sum(axis=1))
    array([1., 6.])
    """
    rows = np.asarray(X)
    n_features = len(location)
    n_block = padded_rows(n_features)
    result = np.empty((len(rows), *shape))

    def fill(start: int) -> None:
        stop = min(start + _THREAD_ROWS, len(rows))
        kernel = new_kernel()
        centred = np.zeros((n_block, padded_width(n_features)))
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(start, stop, n_block):
                block = rows[first : min(first + n_block, stop)]
                filled = centred[: len(block), :n_features]
                filled[:] = block
                filled -= location
                centred[len(block) :] = 0
                result[first : first + len(block)] = kernel(centred)[: len(block)]

    for _ in map_on_threads(fill, range(0, len(rows), _THREAD_ROWS), n_features):
        pass
    return result


def padded_width(n_features: int) -> int:
    """Return a round number of columns that holds `n_features`."""
    return n_features + -n_features % _PADDED_COLUMNS


def padded_rows(n_features: int) -> int:
    """Return how many rows a block has, which depends on its width alone.

    Of narrow rows more: calls cost as much as products of few. Of wide ones few, for a
    single row costs as much as a block.
    """
    return int(np.clip(2**15 // padded_width(n_features), 256, 1024))


def padded(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix with rows and columns of zeros up to a round number.

    Examples
    --------
    >>> import numpy as np
    >>> padded(np.ones((3, 17))).shape
    (16, 32)
    """
    missing = [(0, padded_width(n) - n) for n in matrix.shape]
    return np.pad(matrix, missing)


def _whitening_kernel(whitening: NDArray[np.float64]) -> Kernel:
    """Return a kernel of rows times an upper triangular matrix."""
    n_features = len(whitening)
    factor = padded(whitening)
    # The lower triangle is zero, so a panel of columns needs the columns up to it.
    edges = _PADDED_COLUMNS * np.linspace(
        0, len(factor) // _PADDED_COLUMNS, _PANELS + 1, dtype=int
    )
    white = np.empty((padded_rows(n_features), len(factor)))

    def kernel(centred: NDArray[np.float64]) -> NDArray[np.float64]:
        for left, right in pairwise(edges):
            np.matmul(
                centred[:, :right], factor[:right, left:right], out=white[:, left:right]
            )
        return white[:, :n_features]

    return kernel


def _distances_kernel(whitening: NDArray[np.float64]) -> Kernel:
    """Return a kernel of the squared norms of what `_whitening_kernel` returns."""
    whitened = _whitening_kernel(padded(whitening))

    def kernel(centred: NDArray[np.float64]) -> NDArray[np.float64]:
        white = whitened(centred)
        squares: NDArray[np.float64] = np.vecdot(white, white)
        return squares

    return kernel


def leave_one_out(
    distances: NDArray[np.float64], n_samples: int, shrinkage: float = 0.0
) -> NDArray[np.float64]:
    """Return what the distances of training rows would be had each been left out.

    A row pulls mean and covariance towards itself, so rows that moments come from are
    nearer than new ones, by much where there are few rows to a column. Removing one is
    a rank-one change of the scatter, whose effect has a closed form: exact without
    shrinkage; with it, the weight of the target is taken to stay, and the target to
    grow by ``n / (n - 1)`` as the covariance does. The ridge is left out.

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
