"""What rows are measured by: one Gaussian, or one for each class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from ..covariance import ClassMoments, Factor, Moments, class_moments, moments

_BLOCK_ROWS = 4096

Total = Moments | ClassMoments
"""Moments of all rows, or of those of each class."""

Make = Callable[[Moments], Factor]
"""From moments to the covariance that distances are measured with."""


@dataclass(frozen=True, eq=False)
class Law:
    """One Gaussian of all rows, or one of each class.

    Parameters
    ----------
    factors : tuple of Factor
        One covariance, which classes share, or one of each class.
    means : ndarray of shape (n_gaussians, n_features), float64
        Of all rows, or of each class.
    shares : ndarray of shape (n_gaussians,), float64
        Share of the rows of each class; 1 without classes.
    background : Factor or None
        One Gaussian on the rows of all classes, whose distance a relative one is less.
    """

    factors: tuple[Factor, ...]
    means: NDArray[np.float64]
    shares: NDArray[np.float64]
    background: Factor | None = None

    def of(self, number: int) -> Factor:
        """Return the covariance of the Gaussian of this number."""
        return self.factors[number if len(self.factors) > 1 else 0]

    def distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared distance of each row from each mean, (n, n_gaussians)."""
        if len(self.factors) > 1 or len(self.means) == 1:
            found = [factor.squared_distances(rows) for factor in self.factors]
            return np.stack(found, axis=1)
        result = np.empty((len(rows), len(self.means)))
        centres = self.factors[0].whiten(self.means)
        for part in blocks(len(rows)):
            white = self.factors[0].whiten(rows[part])
            for number, centre in enumerate(centres):
                with np.errstate(over="ignore", invalid="ignore"):
                    gaps = white - centre
                    result[part, number] = np.einsum("ij,ij->i", gaps, gaps)
        result[np.isnan(result)] = np.inf
        return result

    def nearest(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared distance of each row from the nearest mean."""
        least: NDArray[np.float64] = self.distances(rows).min(axis=1)
        return least

    def relative(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared distance from the nearest mean, less the background's."""
        nearest = self.nearest(rows)
        if self.background is None:
            return nearest
        with np.errstate(invalid="ignore"):
            gaps = nearest - self.background.squared_distances(rows)
        gaps[np.isnan(gaps)] = np.inf
        return gaps

    def log_densities(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the log-density of each row under the mixture, in nats."""
        constant = self.means.shape[1] * np.log(2 * np.pi)
        volumes = np.array([factor.log_determinant for factor in self.factors])
        exponents = -0.5 * (self.distances(rows) + volumes + constant)
        densities: NDArray[np.float64] = logsumexp(exponents, axis=1, b=self.shares)
        return densities


def law_of(total: Total, make: Make, *, tied: bool, relative: bool) -> Law:
    """Return the Gaussian of some moments, or one of each class.

    Parameters
    ----------
    total : Moments or ClassMoments
        The latter with two rows of each class where the covariance is not tied.
    make : callable
        From moments to a factored covariance.
    tied : bool
        Whether classes share the covariance of the rows less the means of their class.
    relative : bool
        Whether there is a background.
    """
    if isinstance(total, Moments):
        return Law((make(total),), total.mean[None], np.ones(1))
    shares = np.array([part.n_samples for part in total.parts]) / total.n_samples
    background = make(total.total) if relative else None
    within = (total.tied,) if tied else total.parts
    return Law(tuple(map(make, within)), total.means, shares, background)


def law_of_rows(
    rows: NDArray[Any],
    labels: NDArray[Any] | None,
    make: Callable[[NDArray[Any]], Factor],
    *,
    relative: bool,
) -> Law:
    """Return the Gaussian of some rows, or one of each class, from the rows themselves.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
    labels : ndarray of shape (n_samples,) or None
    make : callable
        From rows to a factored covariance, whose location need not be their mean.
    relative : bool
        Whether there is a background.
    """
    if labels is None:
        found = make(rows)
        return Law((found,), found.location[None], np.ones(1))
    classes, counts = np.unique(labels, return_counts=True)
    factors = tuple(
        _of_class(label, rows[labels == label], make) for label in classes.tolist()
    )
    means = np.stack([factor.location for factor in factors])
    background = make(rows) if relative else None
    return Law(factors, means, counts / len(labels), background)


def _of_class(
    label: Any, rows: NDArray[Any], make: Callable[[NDArray[Any]], Factor]
) -> Factor:
    try:
        return make(rows)
    except ValueError as error:
        raise ValueError(f"The rows of class {label!r} do not do: {error}") from error


def total_of(rows: NDArray[Any], labels: NDArray[Any] | None, *, fourth: bool) -> Total:
    """Return the moments of some rows, those of each class where there are labels."""
    if labels is None:
        return moments(rows, fourth=fourth)
    return class_moments(rows, labels, fourth=fourth)


def merge(total: Any, part: Any) -> Any:
    """Return the moments of the rows of both, which are of one kind."""
    return total.merge(part)


def without(total: Total, part: Total, n_least: int) -> Total | None:
    """Return the moments of the rows that are left where `part` is taken out.

    Classes of which fewer than `n_least` rows are left are left out; None where there
    is nothing left.
    """
    if part.n_samples >= total.n_samples:
        return None
    left: Any = cast(Any, total).without(part)
    if isinstance(left, Moments):
        return left
    kept = np.array([part.n_samples >= n_least for part in left.parts])
    parts = tuple(part for part in left.parts if part.n_samples >= n_least)
    return ClassMoments(left.classes[kept], parts) if parts else None


def unit_rows(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return rows divided by their Euclidean norm, in float64; zeros stay zeros.

    Examples
    --------
    >>> import numpy as np
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0], [1e200, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ],
           [1. , 0. ]])
    """
    wide = np.asarray(rows, dtype=np.float64)
    # By their largest value first, or squares would leave the range of float64.
    largest = np.abs(wide).max(axis=1, keepdims=True)
    wide = wide / np.where(largest == 0, 1.0, largest)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return wide / np.where(norms == 0, 1.0, norms)


def blocks(n_rows: int) -> Iterator[slice]:
    """Yield slices of rows that few copies of are cheap to hold."""
    return (
        slice(start, min(start + _BLOCK_ROWS, n_rows))
        for start in range(0, n_rows, _BLOCK_ROWS)
    )
