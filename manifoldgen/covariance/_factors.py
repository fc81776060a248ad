"""Covariances ready to measure with: full, diagonal, or of low rank."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, eigvalsh

from .._threads import narrow_blas
from .._validation import check_choice, check_int, check_real
from ._moments import Moments
from ._shrinkage import ledoit_wolf_shrinkage, oas_shrinkage, shrink
from ._whitening import (
    PADDED_ROWS,
    Kernel,
    map_blocks,
    padded,
    padded_width,
    ridge_variances,
    squared_distances,
    whiten,
    whitening_matrix,
)

KINDS = ("oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank")
"""What `factor` takes as covariance."""

RANK_TOLERANCE = 1e-7
"""Directions count where their variance is above this share of the largest.

Below it lies what rounding adds where products are taken in float32.
"""


@dataclass(frozen=True, eq=False)
class Factor(ABC):
    """A mean and a covariance, factored once, to measure squared distances with.

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

    Rank and condition number are those of columns scaled to a variance of 1.
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
        return _rank(_correlation_values(self.empirical))

    @cached_property
    def condition_number(self) -> float:
        """Largest over smallest eigenvalue of the covariance."""
        values = _correlation_values(self.covariance())
        return float(values[-1] / max(values[0], np.finfo(float).tiny))

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
    of ``Vᵀ u`` over `variances`. No matrix of n_features x n_features is made.
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
        off = np.empty((PADDED_ROWS, width))
        on = np.empty((PADDED_ROWS, len(deviations)))

        def kernel(centred: NDArray[np.float64]) -> NDArray[np.float64]:
            np.divide(centred, scale, out=off)
            np.matmul(off, basis, out=on)
            # Taken off, not squared and subtracted, which would leave rounding alone
            # of a row whose distance along the basis is large.
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
        squares: NDArray[np.float64] = np.einsum("ij,ij->i", off, off)
        squares += np.einsum("ij,ij->i", on, on)
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

    Parameters
    ----------
    total : Moments
    covariance : str, default="oas"
        - "oas": shrunk to a sphere by Oracle Approximating Shrinkage,
        - "ledoit_wolf": shrunk by Ledoit's and Wolf's estimate, from moments with
          fourth powers,
        - "empirical": the maximum-likelihood covariance,
        - "diagonal": its diagonal alone,
        - "ppca": its leading directions, and the mean variance of all others,
        - "low_rank": its leading directions, and the ridge alone in all others.
    ridge : float, default=1e-6
        What is added to variances, as a share of them; in [0, 1].
    n_components : int, float or None, default=None
        Number of leading directions, or the least share of the variance that they hold,
        in (0, 1). None for "ppca" is as many as hold 95 % of it, but at most one for
        five rows; for "low_rank" all.

    Returns
    -------
    factor : Factor

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
    check_choice("covariance", covariance, KINDS)
    check_real("ridge", ridge, 0.0, 1.0)
    if covariance in ("ppca", "low_rank"):
        return _leading(total, covariance == "ppca", ridge, n_components)
    if n_components is not None:
        raise ValueError(
            "n_components must be None for every covariance but 'ppca' and "
            f"'low_rank', got {n_components!r} for {covariance!r}."
        )
    S, shrinkage = total.covariance, 0.0
    if covariance == "diagonal":
        S = np.diag(S.diagonal())
    elif covariance == "ledoit_wolf":
        shrinkage = ledoit_wolf_shrinkage(total)
    elif covariance == "oas":
        shrinkage = oas_shrinkage(S, total.n_samples)
    whitening, log_determinant = whitening_matrix(shrink(S, shrinkage), ridge)
    return FullFactor(total.mean, shrinkage, log_determinant, whitening, S, ridge)


def _leading(
    total: Moments, with_noise: bool, ridge: float, n_components: int | float | None
) -> LowRankFactor:
    n_features = len(total.mean)
    S = total.covariance
    with narrow_blas(n_features):
        values, vectors = eigh(S)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    n_kept = _n_components(values, n_components, total.n_samples, with_noise)
    mean_variance = values.mean() or 1.0
    noise = max(ridge, np.finfo(float).eps) * mean_variance
    if with_noise and n_kept < n_features:
        noise += values[n_kept:].mean()
    kept = values[:n_kept] + max(ridge, np.finfo(float).eps) * mean_variance
    variances = kept / noise
    return LowRankFactor(
        total.mean,
        0.0,
        float(n_features * np.log(noise) + np.log(variances).sum()),
        np.full(n_features, np.sqrt(noise)),
        np.ascontiguousarray(vectors[:, :n_kept]),
        variances,
        _rank(values),
    )


def _n_components(
    values: NDArray[np.float64], n_components: Any, n_samples: int, with_noise: bool
) -> int:
    n_features = len(values)
    if n_components is None and not with_noise:
        return n_features
    most = n_features
    share = n_components
    if n_components is None:
        share, most = 0.95, max(1, min(n_samples // 5, n_features - 1))
    if isinstance(share, float):
        check_real("n_components", share, 0.0, 1.0, closed="neither")
        reached = np.cumsum(values) >= share * values.sum()
        return min(int(np.argmax(reached)) + 1, most)
    return check_int("n_components", share, 1, n_features)


def _correlation_values(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the eigenvalues, ascending, of columns scaled to a variance of 1."""
    std = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    std[std == 0] = 1.0
    with narrow_blas(len(std)):
        values: NDArray[np.float64] = eigvalsh(covariance / np.outer(std, std))
    return values


def _rank(values: NDArray[np.float64]) -> int:
    largest = values.max(initial=0.0)
    return int((values > RANK_TOLERANCE * largest).sum()) if largest > 0 else 0
