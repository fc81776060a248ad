"""P-values of distances: by rank among held-out rows, or by the law for Gaussians."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import f as f_distribution

_CHI2_LEVEL, _CHI2_MOST = 0.05, 0.055


def conformal_pvalues(
    distances: NDArray[np.float64], calibration: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``(1 + #{calibration >= distance}) / (1 + n)`` of each distance.

    Where a row and the n calibration rows are exchangeable, and the distance was fitted
    to neither, a p-value of at most u has probability at most u.

    Examples
    --------
    >>> import numpy as np
    >>> conformal_pvalues(np.array([0.5, 3.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    array([1.  , 0.5 , 0.25])
    """
    below = np.searchsorted(np.sort(calibration), distances, side="left")
    pvalues: NDArray[np.float64] = (1 + len(calibration) - below) / (
        1 + len(calibration)
    )
    return pvalues


def n_calibration_needed(rate: float) -> int:
    """Return from how many calibration rows on a conformal p-value can be `rate`.

    Examples
    --------
    >>> n_calibration_needed(0.05), n_calibration_needed(0.3)
    (19, 3)
    """
    return math.ceil(1 / rate - 1 - 1e-9)


def conformal_threshold(calibration: NDArray[np.float64], rate: float) -> float:
    """Return the distance beyond which conformal p-values are at most `rate`.

    A row of the same law is beyond it with a probability of at most `rate`, and of more
    than ``rate - 1 / (1 + n)`` where no two distances are equal.

    Parameters
    ----------
    calibration : ndarray of shape (n,)
        At least ``n_calibration_needed(rate)`` distances.
    rate : float
        In (0, 1).

    References
    ----------
    .. [1] H. Papadopoulos, K. Proedrou, V. Vovk, A. Gammerman, "Inductive confidence
           machines for regression", ECML, 2002.

    Examples
    --------
    >>> import numpy as np
    >>> calibration = np.arange(1.0, 20.0)
    >>> conformal_threshold(calibration, 0.1)
    18.0
    >>> conformal_pvalues(np.array([18.0, 18.1]), calibration)
    array([0.15, 0.1 ])
    """
    n = len(calibration)
    n_beyond = math.floor(rate * (n + 1) + 1e-9)
    return float(np.partition(calibration, n - n_beyond)[n - n_beyond])


def scaled_f(n_samples: int, n_features: int) -> Any:
    """Return the law of squared distances of new Gaussian rows.

    Under the mean and the maximum-likelihood covariance of n rows of d columns, it is
    ``d (n + 1) / (n - d)`` times that of F with d and n - d degrees of freedom.

    References
    ----------
    .. [1] T. W. Anderson, "An introduction to multivariate statistical analysis", 3rd
           ed., Wiley, 2003, Theorem 5.2.2.
    """
    rest = n_samples - n_features
    scale = n_features * (n_samples + 1) / rest
    return f_distribution(n_features, rest, scale=scale)


def f_pvalues(
    distances: NDArray[np.float64], n_samples: int, n_features: int
) -> NDArray[np.float64]:
    """Return how probable it is that a new Gaussian row is at least as far.

    ``D² (n - d) / (d (n + 1))`` of a row that is not among the n behind mean and
    maximum-likelihood covariance follows F with d and n - d degrees of freedom.

    Parameters
    ----------
    distances : ndarray of shape (n_rows,)
        Squared Mahalanobis distances D² under the maximum-likelihood covariance.
    n_samples : int
        Number n of rows behind it, > d.
    n_features : int
        Number d of columns.

    References
    ----------
    .. [1] T. W. Anderson, "An introduction to multivariate statistical analysis", 3rd
           ed., Wiley, 2003, Theorem 5.2.2.

    Examples
    --------
    >>> import numpy as np
    >>> f_pvalues(np.array([0.0, 9.0]), n_samples=100, n_features=2).round(4)
    array([1.    , 0.0153])
    """
    pvalues: NDArray[np.float64] = scaled_f(n_samples, n_features).sf(distances)
    return pvalues


def f_threshold(rate: float, n_samples: int, n_features: int) -> float:
    """Return the distance whose p-value by `f_pvalues` is `rate`."""
    return float(scaled_f(n_samples, n_features).isf(rate))


def chi2_pvalues(
    distances: NDArray[np.float64], n_features: int
) -> NDArray[np.float64]:
    """Return how probable such a distance is where mean and covariance are known.

    Examples
    --------
    >>> import numpy as np
    >>> chi2_pvalues(np.array([0.0, 9.0]), n_features=2).round(4)
    array([1.    , 0.0111])
    """
    pvalues: NDArray[np.float64] = chi2_distribution.sf(distances, n_features)
    return pvalues


def chi2_threshold(rate: float, n_features: int) -> float:
    """Return the distance whose p-value by `chi2_pvalues` is `rate`."""
    return float(chi2_distribution.isf(rate, n_features))


def n_chi2_needed(n_features: int) -> int:
    """Return from how many rows on the chi-squared law stands in for the F law.

    That is, from where at most .055 of new rows have a p-value of at most .05.

    Examples
    --------
    >>> n_chi2_needed(1), n_chi2_needed(10)
    (104, 946)
    """
    threshold = chi2_threshold(_CHI2_LEVEL, n_features)

    def holds(n_samples: int) -> bool:
        distance = np.array([threshold])
        return bool(f_pvalues(distance, n_samples, n_features)[0] <= _CHI2_MOST)

    high = 2 * n_features + 2
    while not holds(high):
        high *= 2
    low = n_features + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high
