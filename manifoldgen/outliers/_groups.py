"""Distances of several groups of columns as one, by how rare each of them is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_CALIBRATION = 20
"""Calibration rows that distances of groups are made comparable with."""


@dataclass(frozen=True, eq=False)
class Tail:
    """How probable it is that a distance is exceeded, made from some distances.

    Between the distances it interpolates their survival function, k of n the largest
    having k / (n + 1); beyond them it falls exponentially, by the mean excess over the
    upper tenth. So of two distances the larger one is always the less probable, however
    far off both are.

    Parameters
    ----------
    distances : ndarray of shape (n_distinct,), float64
        Sorted.
    survival : ndarray of shape (n_distinct,), float64
        Share that is at least as large.
    scale : float
        Distance over which the tail falls by e.
    """

    distances: NDArray[np.float64]
    survival: NDArray[np.float64]
    scale: float

    def surprise(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``-log`` of the probability that each distance is exceeded, nats."""
        first, last = self.distances[0], self.distances[-1]
        inside = -np.log(np.interp(distances, self.distances, self.survival))
        with np.errstate(over="ignore"):
            beyond = np.maximum(distances - last, 0.0) / self.scale
        short = np.minimum(distances - first, 0.0) / self.scale
        below = -np.log1p((self.survival[0] - 1) * np.exp(short))
        result: NDArray[np.float64] = np.where(
            distances < first, below, inside + beyond
        )
        return result


def tail_of(distances: NDArray[np.float64]) -> Tail:
    """Return the tail that some held-out distances have.

    Examples
    --------
    >>> import numpy as np
    >>> tail = tail_of(np.arange(1.0, 100.0))
    >>> np.exp(-tail.surprise(np.array([50.0, 99.0]))).round(6)
    array([0.5 , 0.01])
    >>> bool(np.diff(tail.surprise(np.array([-9.0, 0.5, 99, 200, 2000]))).min() > 0)
    True
    """
    ordered = np.sort(distances)
    n = len(ordered)
    distinct, first = np.unique(ordered, return_index=True)
    survival = (n - first) / (n + 1)
    top = ordered[n - max(1, n // 10) - 1 :] if n > 1 else ordered
    excess = float(np.mean(top[1:] - top[0])) if n > 1 else 0.0
    if excess <= 0:
        excess = abs(float(ordered[-1])) or 1.0
    return Tail(distinct, survival, excess)


def fisher(distances: NDArray[np.float64], tails: list[Tail]) -> NDArray[np.float64]:
    """Return Fisher's statistic of the distances of each group, ``-2 sum log p``.

    It is a distance itself: high where groups agree that a row is far, or one says that
    it is very far. Its law is not taken to be chi-squared, for groups depend on each
    other; p-values come from its rank among calibration rows.

    Parameters
    ----------
    distances : ndarray of shape (n_samples, n_groups)
    tails : list of Tail
        One for each group.

    References
    ----------
    .. [1] R. A. Fisher, "Statistical methods for research workers", 4th ed., Oliver
           and Boyd, 1932, Sect. 21.1.

    Examples
    --------
    >>> import numpy as np
    >>> tails = [tail_of(np.arange(1.0, 100.0))] * 2
    >>> fisher(np.array([[50.0, 50.0], [1.0, 99.0]]), tails).round(4)
    array([2.7726, 9.2304])
    """
    total = np.zeros(len(distances))
    for column, tail in zip(distances.T, tails, strict=True):
        total += 2 * tail.surprise(column)
    return total


def tippett(distances: NDArray[np.float64], tails: list[Tail]) -> NDArray[np.float64]:
    """Return minus the logarithm of the smallest p-value of each row, Tippett's.

    High where one distance is rare, whatever the others are, where `fisher` asks how
    rare they are together.

    Parameters
    ----------
    distances : ndarray of shape (n_samples, n_groups)
    tails : list of Tail
        One for each group.

    References
    ----------
    .. [1] L. H. C. Tippett, "The methods of statistics", Williams and Norgate, 1931.

    Examples
    --------
    >>> import numpy as np
    >>> tails = [tail_of(np.arange(1.0, 100.0))] * 2
    >>> tippett(np.array([[50.0, 50.0], [1.0, 99.0]]), tails).round(4)
    array([0.6931, 4.6052])
    """
    columns = zip(distances.T, tails, strict=True)
    surprises = [tail.surprise(column) for column, tail in columns]
    rarest: NDArray[np.float64] = np.max(surprises, axis=0)
    return rarest
