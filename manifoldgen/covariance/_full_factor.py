"""A mean and a covariance ready to measure with, and such of full rank."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh

from .._threads import narrow_blas
from ._shrinkage import shrink
from ._whitening import ridge_variances, squared_distances, whiten

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
        return rank_of(correlation_values(self.empirical))

    @cached_property
    def condition_number(self) -> float:
        """Largest over smallest eigenvalue of the covariance."""
        values = correlation_values(self.covariance())
        return float(values[-1] / values[0]) if values[0] > 0 else np.inf

    def squared_distances(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each row."""
        return squared_distances(X, self.location, self.root)

    def whiten(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return rows whose squared norms are the squared distances."""
        return whiten(X, self.location, self.root)


def correlation_values(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
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
