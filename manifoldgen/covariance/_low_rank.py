"""Covariances along some directions with one variance beyond, and diagonal ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, svd

from .._threads import narrow_blas
from ._full_factor import Factor, rank_of
from ._moments import Moments, moments
from ._shrinkage import ledoit_wolf_weight, oas_weight
from ._whitening import Kernel, map_blocks, padded, padded_rows, padded_width, ridge_of


@dataclass(frozen=True, eq=False)
class LowRankFactor(Factor):
    """Variances along some directions, and one variance of every other direction.

    Columns are first divided by `scale`, the noise. Of a row u in that unit, with V the
    orthonormal `basis`, the squared distance is ``||u - V Vᵀ u||²`` plus the squares
    of ``Vᵀ u`` over `variances`. No matrix of n_features x n_features is made to
    measure with. The condition number is that of columns divided by `scale`.

    Parameters
    ----------
    location : ndarray of shape (n_features,), float64
    shrinkage : float
    log_determinant : float
    scale : ndarray of shape (n_features,), float64
        Standard deviation of each column along directions beyond the basis.
    basis : ndarray of shape (n_features, n_components), float64
        Orthonormal columns V; none for a diagonal covariance.
    variances : ndarray of shape (n_components,), float64
        Along the columns of the basis, of columns divided by `scale`.
    rank : int
        For a diagonal covariance the number of columns that vary.

    References
    ----------
    .. [1] M. Woodbury, "Inverting modified matrices", Statistical Research Group
           Memorandum 42, Princeton, 1950. The formula above is its result where V is
           orthonormal; it is not computed as the difference of two squares.

    Examples
    --------
    >>> import numpy as np
    >>> basis = np.array([[0.6], [0.8]])
    >>> found = LowRankFactor(
    ...     np.zeros(2), 0.0, 0.0, np.ones(2), basis, np.array([4.0]), rank=1
    ... )
    >>> found.squared_distances(np.array([[1.2, 1.6], [-0.8, 0.6]]))
    array([1., 1.])
    >>> found.covariance()
    array([[2.08, 1.44],
           [1.44, 2.92]])
    """

    scale: NDArray[np.float64]
    basis: NDArray[np.float64]
    variances: NDArray[np.float64]
    rank: int

    def whitening(self) -> NDArray[np.float64]:
        """Return W of ``whiten(X) = (X - location) W``, (n_features, n_features)."""
        shortened = self.basis * (1 / np.sqrt(self.variances) - 1)
        white = shortened @ self.basis.T
        white.flat[:: len(white) + 1] += 1
        return white / self.scale[:, None]

    def covariance(self) -> NDArray[np.float64]:
        """Return the covariance, ridge included, (n_features, n_features)."""
        matrix = (self.basis * (self.variances - 1)) @ self.basis.T
        matrix.flat[:: len(matrix) + 1] += 1
        return matrix * np.outer(self.scale, self.scale)

    @property
    def condition_number(self) -> float:
        """Largest over smallest eigenvalue of the covariance."""
        beyond = np.ones(int(len(self.variances) < self.n_features))
        values = np.concatenate([self.variances, beyond])
        return float(values.max() / values.min())

    def squared_distances(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each row."""
        distances = map_blocks(X, self.location, partial(self._kernel, self._squares))
        distances[np.isnan(distances)] = np.inf
        return distances

    def whiten(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return rows whose squared norms are the squared distances."""
        kernel = partial(self._kernel, self._rows)
        return map_blocks(X, self.location, kernel, (self.n_features,))

    def _kernel(self, finish: Callable[..., NDArray[np.float64]]) -> Kernel:
        """Return a kernel that splits rows into what is on and off the basis."""
        basis, width = padded(self.basis), padded_width(self.n_features)
        scale = np.ones(width)
        scale[: self.n_features] = self.scale
        deviations = np.ones(basis.shape[1])
        deviations[: len(self.variances)] = np.sqrt(self.variances)
        off = np.empty((padded_rows(width), width))
        on = np.empty((padded_rows(width), len(deviations)))

        def kernel(centred: NDArray[np.float64]) -> NDArray[np.float64]:
            np.divide(centred, scale, out=off)
            np.matmul(off, basis, out=on)
            # Taken off, not squared and subtracted, which would leave rounding alone
            # of a row whose distance along the basis is large.
            if basis.size:
                np.subtract(off, on @ basis.T, out=off)
                np.divide(on, deviations, out=on)
            return finish(off, on, basis)

        return kernel

    def _squares(
        self,
        off: NDArray[np.float64],
        on: NDArray[np.float64],
        basis: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        squares: NDArray[np.float64] = np.vecdot(off, off)
        squares += np.vecdot(on, on)
        return squares

    def _rows(
        self,
        off: NDArray[np.float64],
        on: NDArray[np.float64],
        basis: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        off += on @ basis.T
        return off[:, : self.n_features]


@dataclass(frozen=True)
class Principal:
    """Variances of rows along orthonormal directions, the largest first.

    There may be fewer directions than columns; the variance along the rest is 0.
    """

    mean: NDArray[np.float64]
    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    n_samples: int

    @property
    def mean_variance(self) -> float:
        """Mean variance of the columns, 1 where there is none."""
        return float(self.values.sum()) / len(self.mean) or 1.0

    def beyond(self, n_kept: int) -> float:
        """Return the mean variance along all directions but the leading ones."""
        n_left = len(self.mean) - n_kept
        return float(self.values[n_kept:].sum()) / n_left if n_left else 0.0

    def n_holding(self, share: float) -> int:
        """Return how many directions hold that share of the variance, at least 1."""
        held = np.cumsum(self.values)
        return min(int(np.searchsorted(held, share * held[-1])) + 1, len(held))


def principal_directions(X: NDArray[Any]) -> Principal:
    """Return the principal directions of rows, by the smaller of the two squares."""
    n_samples, n_features = X.shape
    if n_samples >= n_features:
        return directions_of(moments(X))
    mean, centred = _centred(X)
    values, vectors = _thin(centred / np.sqrt(n_samples))
    return Principal(mean, values, vectors, n_samples)


def directions_of(total: Moments) -> Principal:
    """Return the principal directions of rows of which the moments are known."""
    with narrow_blas(len(total.mean)):
        values, vectors = eigh(total.covariance)
    values = np.maximum(values[::-1], 0.0)
    return Principal(total.mean, values, vectors[:, ::-1], total.n_samples)


def low_rank_factor(
    principal: Principal,
    values: NDArray[np.float64],
    noise: float,
    ridge: float,
) -> LowRankFactor:
    """Return a factor with variances along the leading directions, and noise beyond.

    The ridge, a share of the mean variance, is added to all of them.
    """
    n_features = len(principal.mean)
    added = max(ridge, np.finfo(float).eps) * principal.mean_variance
    noise += added
    variances = (values + added) / noise
    return LowRankFactor(
        principal.mean,
        0.0,
        float(n_features * np.log(noise) + np.log(variances).sum()),
        np.full(n_features, np.sqrt(noise)),
        np.ascontiguousarray(principal.vectors[:, : len(values)]),
        variances,
        rank_of(principal.values),
    )


def leading_factor(
    principal: Principal, covariance: str, ridge: float, n_components: Any
) -> LowRankFactor:
    """Return what `factor` calls "ppca" and "low_rank"."""
    n_features = len(principal.mean)
    most, wanted = len(principal.values), n_components
    if wanted is None and covariance == "ppca":
        most, wanted = min(principal.n_samples // 5, n_features - 1), 0.95
    if wanted is None:
        wanted = n_features
    elif isinstance(wanted, float | np.floating):
        wanted = principal.n_holding(float(wanted))
        wanted = max(1, min(wanted, most))
    noise = principal.beyond(wanted) if covariance == "ppca" else 0.0
    return low_rank_factor(principal, principal.values[:wanted], noise, ridge)


def diagonal_factor(
    mean: NDArray[np.float64], variances: NDArray[np.float64], ridge: float
) -> LowRankFactor:
    """Return a diagonal covariance, of no direction but the columns."""
    used = variances + ridge_of(variances, ridge)
    used[used <= 0] = 1.0
    return LowRankFactor(
        mean,
        0.0,
        float(np.log(used).sum()),
        np.sqrt(used),
        np.empty((len(mean), 0)),
        np.empty(0),
        int(np.count_nonzero(variances)),
    )


def wide_factor(X: NDArray[Any], covariance: str, ridge: float) -> LowRankFactor:
    """Return what `whitening_matrix` stands for, of fewer rows than columns."""
    n_samples, n_features = X.shape
    mean, centred = _centred(X)
    squares = np.vecdot(centred, centred)
    shrinkage = 0.0
    if covariance != "empirical":
        shrinkage = _shrinkage_of_rows(centred, squares, covariance)
    mean_variance = float(squares.sum()) / (n_samples * n_features)
    sphere = shrinkage * mean_variance
    variances = (1 - shrinkage) * np.square(centred).mean(axis=0) + sphere
    least = np.finfo(float).eps * (mean_variance or 1.0)
    noise = np.maximum(sphere + ridge_of(variances, ridge), least)
    scale = np.sqrt(noise)
    values, vectors = _thin(centred / scale / np.sqrt(n_samples))
    rank = rank_of(values)
    values *= 1 - shrinkage
    return LowRankFactor(
        mean,
        shrinkage,
        float(np.log(noise).sum() + np.log1p(values).sum()),
        scale,
        np.ascontiguousarray(vectors),
        values + 1,
        rank,
    )


def _shrinkage_of_rows(
    centred: NDArray[np.float64], squares: NDArray[np.float64], covariance: str
) -> float:
    """Return the shrinkage of a covariance from the products of the rows.

    ``tr(S²)`` is the sum of their squares, over the square of their number.
    """
    n_samples, n_features = centred.shape
    trace = float(squares.sum())
    if trace <= 0:
        return float(n_features > 1)
    square = float(np.sum(np.square(centred @ centred.T / trace)))
    if covariance == "oas":
        return oas_weight(square, n_samples, n_features)
    fourth = n_samples * float(np.sum(np.square(squares / trace)))
    return ledoit_wolf_weight(square, fourth, n_samples, n_features)


def _centred(X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the rows less it, a column that does not vary exactly 0."""
    rows = X.astype(np.float64)
    check_finite(rows)
    mean = rows.mean(axis=0)
    mean = np.where((rows == rows[0]).all(axis=0), rows[0], mean)
    rows -= mean
    return mean, rows


def check_finite(X: NDArray[np.float64]) -> None:
    """Raise where a value is not finite."""
    if not np.isfinite(X).all():
        raise ValueError("X must hold finite values, got NaN or infinity.")


def _thin(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenvalues of ``rowsᵀ rows``, largest first, and their vectors.

    Rows have a mean of 0, so one direction fewer than rows is left.
    """
    with narrow_blas(len(rows)):
        _, deviations, vectors = svd(rows, full_matrices=False, check_finite=False)
    n_left = max(1, len(rows) - 1)
    return np.square(deviations[:n_left]), vectors[:n_left].T
