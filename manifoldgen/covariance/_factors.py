"""Covariances ready to measure with: full, diagonal, or of low rank."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, eigvalsh, svd

from .._arrays import column_moments
from .._threads import narrow_blas
from .._validation import check_choice, check_int, check_real
from ._chunks import numeric_rows
from ._moments import Moments, moments
from ._shrinkage import (
    ledoit_wolf_shrinkage,
    ledoit_wolf_weight,
    oas_shrinkage,
    oas_weight,
    shrink,
)
from ._whitening import (
    Kernel,
    map_blocks,
    padded,
    padded_rows,
    padded_width,
    ridge_of,
    ridge_variances,
    squared_distances,
    whiten,
    whitening_matrix,
)

KINDS = ("oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank")
"""What `factor` takes as covariance."""

_LEADING = ("ppca", "low_rank")

RANK_TOLERANCE = 1e-7
"""Directions count where their variance is above this share of the largest.

Below it lies what rounding adds where products are taken in float32.
"""


@dataclass(frozen=True, eq=False)
class Factor(ABC):
    """A mean and a covariance, factored once, to measure squared distances with.

    Made by `factor`, `factor_rows` and `robust_factor`.

    Attributes
    ----------
    location : ndarray of shape (n_features,), float64
    shrinkage : float
        Weight of the sphere in the covariance, in [0, 1].
    log_determinant : float
        Of the covariance, ridge included, in nats.
    rank : int
        Number of directions in which the rows vary, before shrinkage and ridge: those
        with more than 1e-7 of the variance of the largest.
    condition_number : float
        Largest over smallest eigenvalue of the covariance, ridge included.
    """

    location: NDArray[np.float64]
    shrinkage: float
    log_determinant: float

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.location)

    @abstractmethod
    def whitening(self) -> NDArray[np.float64]:
        """Return W of ``whiten(X) = (X - location) W``, (n_features, n_features)."""

    @abstractmethod
    def covariance(self) -> NDArray[np.float64]:
        """Return the covariance, ridge included, (n_features, n_features)."""

    @abstractmethod
    def squared_distances(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each row, (n_samples,) float64.

        A row has one distance, to the bit, whatever rows come with it.
        """

    @abstractmethod
    def whiten(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return rows whose squared norms are the squared distances, float64.

        A row is the same, to the bit, whatever rows come with it.
        """


@dataclass(frozen=True, eq=False)
class FullFactor(Factor):
    """A covariance of full rank by its triangular whitening matrix.

    Rank and condition number, which are worked out when first asked for, are those of
    columns scaled to a variance of 1.

    Parameters
    ----------
    location : ndarray of shape (n_features,), float64
    shrinkage : float
    log_determinant : float
    root : ndarray of shape (n_features, n_features), float64
        As from `whitening_matrix`, of the shrunk covariance.
    empirical : ndarray of shape (n_features, n_features), float64
        The maximum-likelihood covariance.
    ridge : float

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen.covariance import factor, moments
    >>> X = np.random.default_rng(0).normal(size=(400, 3))
    >>> found = factor(moments(np.c_[X, X[:, 0]]), "empirical", ridge=1e-3)
    >>> found.rank, round(found.condition_number, -2)
    (3, 2000.0)
    """

    root: NDArray[np.float64]
    empirical: NDArray[np.float64]
    ridge: float

    def whitening(self) -> NDArray[np.float64]:
        """Return W of ``whiten(X) = (X - location) W``, upper triangular."""
        return self.root

    def covariance(self) -> NDArray[np.float64]:
        """Return the covariance, ridge included, (n_features, n_features)."""
        used = shrink(self.empirical, self.shrinkage)
        used.flat[:: len(used) + 1] += ridge_variances(used, self.ridge)
        return used

    @cached_property
    def rank(self) -> int:
        """Number of directions in which the rows vary."""
        return rank_of(_correlation_values(self.empirical))

    @cached_property
    def condition_number(self) -> float:
        """Largest over smallest eigenvalue of the covariance."""
        values = _correlation_values(self.covariance())
        return float(values[-1] / values[0]) if values[0] > 0 else np.inf

    def squared_distances(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each row."""
        return squared_distances(X, self.location, self.root)

    def whiten(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return rows whose squared norms are the squared distances."""
        return whiten(X, self.location, self.root)


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


def factor(
    total: Moments,
    covariance: str = "oas",
    *,
    ridge: float = 1e-6,
    n_components: int | float | None = None,
) -> Factor:
    """Return the covariance of some moments, factored to measure distances with.

    Of the rows themselves, where they are fewer than their columns, `factor_rows` makes
    the same without a matrix of n_features x n_features.

    Parameters
    ----------
    total : Moments
        Whose covariance S is the maximum-likelihood one.
    covariance : str, default="oas"
        - "oas": S shrunk to a sphere by Oracle Approximating Shrinkage,
        - "ledoit_wolf": S shrunk to a sphere by Ledoit's and Wolf's estimate, from
          ``moments(X, fourth=True)``,
        - "empirical": S,
        - "diagonal": the diagonal of S,
        - "ppca": S along its leading directions, and in all others their mean variance,
        - "low_rank": S along its leading directions, and the ridge alone in all others.

        Under "empirical" and "diagonal" distances do not depend on the units of the
        columns; the others are for columns of one unit.
    ridge : float, default=1e-6
        What is added to variances, dimensionless, in [0, 1]: for "ppca" and "low_rank"
        this share of the mean variance, else as in `ridge_variances`.
    n_components : int, float or None, default=None
        Of "ppca" and "low_rank" the number of leading directions, or the share of the
        variance, in (0, 1), that the fewest of them hold. None is for "ppca" 0.95, but
        at most a direction for five rows; for "low_rank" all.

    Returns
    -------
    factor : Factor

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range, n_components is not for this covariance, or
        moments for "ledoit_wolf" are without fourth powers.

    References
    ----------
    .. [1] M. Tipping, C. Bishop, "Probabilistic principal component analysis", J. Royal
           Statistical Society B 61(3), 1999, Eq. (8).
    .. [2] Y. Chen, A. Wiesel, Y. Eldar, A. Hero, "Shrinkage algorithms for MMSE
           covariance estimation", IEEE Trans. Signal Processing 58(10), 2010.
    .. [3] O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional
           covariance matrices", J. Multivariate Analysis 88(2), 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen.covariance import moments
    >>> X = np.random.default_rng(0).normal(size=(1000, 3)) * [1.0, 2.0, 0.0]
    >>> found = factor(moments(X))
    >>> found.rank
    2
    >>> near, far = found.squared_distances(np.array([[1.0, 2, 0], [0, 0, 1]]))
    >>> bool(near < 3 < 100 < far)
    True
    """
    _check_parameters(covariance, ridge, n_components, len(total.mean))
    S = total.covariance
    if covariance in _LEADING:
        return _leading(_directions(total), covariance, ridge, n_components)
    if covariance == "diagonal":
        return _diagonal(total.mean, S.diagonal(), ridge)
    shrinkage = 0.0
    if covariance == "ledoit_wolf":
        shrinkage = ledoit_wolf_shrinkage(total)
    elif covariance == "oas":
        shrinkage = oas_shrinkage(S, total.n_samples)
    root, log_determinant = whitening_matrix(shrink(S, shrinkage), ridge)
    return FullFactor(total.mean, shrinkage, log_determinant, root, S, ridge)


def factor_rows(
    X: NDArray[Any],
    covariance: str = "oas",
    *,
    ridge: float = 1e-6,
    n_components: int | float | None = None,
) -> Factor:
    """Return the covariance of the rows of `X`, factored to measure distances with.

    The distances are those of ``factor(moments(X), ...)``. Where rows are fewer than
    columns they come from a thin singular value decomposition, and for "diagonal" from
    the variances, so that no matrix of n_features x n_features is made.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Real, finite numbers, of at least one row; for "robust" see `robust_factor`.
    covariance, ridge, n_components
        As in `factor`.

    Returns
    -------
    factor : Factor

    Raises
    ------
    TypeError, ValueError
        Where `factor` or `moments` raise.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen.covariance import moments
    >>> X = np.random.default_rng(0).normal(size=(20, 50))
    >>> wide, full = factor_rows(X), factor(moments(X))
    >>> wide.basis.shape, wide.rank
    ((50, 19), 19)
    >>> bool(np.allclose(wide.squared_distances(X), full.squared_distances(X)))
    True
    """
    rows = numeric_rows(X)
    n_samples, n_features = rows.shape
    _check_parameters(covariance, ridge, n_components, n_features)
    if covariance == "diagonal":
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = column_moments(rows)
        _check_finite(mean + std)
        return _diagonal(mean, np.square(std), ridge)
    if n_samples >= n_features:
        total = moments(rows, fourth=covariance == "ledoit_wolf")
        return factor(total, covariance, ridge=ridge, n_components=n_components)
    if covariance in _LEADING:
        return _leading(principal_directions(rows), covariance, ridge, n_components)
    return _wide(rows, covariance, ridge)


def _check_parameters(
    covariance: Any, ridge: Any, n_components: Any, n_features: int
) -> None:
    check_choice("covariance", covariance, KINDS)
    check_real("ridge", ridge, 0.0, 1.0)
    if n_components is None:
        return
    if covariance not in _LEADING:
        raise ValueError(
            "n_components must be None for every covariance but 'ppca' and "
            f"'low_rank', got {n_components!r} for {covariance!r}."
        )
    check_n_components(n_components, n_features)


def check_n_components(value: Any, most: int, hint: str = "") -> None:
    """Raise where `value` is neither a share in (0, 1) nor an int from 1 to `most`."""
    if isinstance(value, float | np.floating):
        check_real("n_components", float(value), 0.0, 1.0, closed="neither")
    else:
        check_int("n_components", value, 1, most, hint)


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
        return _directions(moments(X))
    mean, centred = _centred(X)
    values, vectors = _thin(centred / np.sqrt(n_samples))
    return Principal(mean, values, vectors, n_samples)


def _directions(total: Moments) -> Principal:
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


def _leading(
    principal: Principal, covariance: str, ridge: float, n_components: Any
) -> LowRankFactor:
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


def _diagonal(
    mean: NDArray[np.float64], variances: NDArray[np.float64], ridge: float
) -> LowRankFactor:
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


def _wide(X: NDArray[Any], covariance: str, ridge: float) -> LowRankFactor:
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
    values, vectors = _thin(centred / scale * np.sqrt((1 - shrinkage) / n_samples))
    return LowRankFactor(
        mean,
        shrinkage,
        float(np.log(noise).sum() + np.log1p(values).sum()),
        scale,
        np.ascontiguousarray(vectors),
        values + 1,
        rank_of(values),
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
    _check_finite(rows)
    mean = rows.mean(axis=0)
    mean = np.where((rows == rows[0]).all(axis=0), rows[0], mean)
    rows -= mean
    return mean, rows


def _check_finite(X: NDArray[np.float64]) -> None:
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


def _correlation_values(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the eigenvalues, ascending, of columns scaled to a variance of 1."""
    std = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    std[std == 0] = 1.0
    with narrow_blas(len(std)):
        values: NDArray[np.float64] = eigvalsh(covariance / np.outer(std, std))
    return values


def rank_of(values: NDArray[np.float64]) -> int:
    """Return how many eigenvalues are above `RANK_TOLERANCE` of the largest."""
    largest = values.max(initial=0.0)
    return int((values > RANK_TOLERANCE * largest).sum()) if largest > 0 else 0
