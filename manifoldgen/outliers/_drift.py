"""Whether a batch of rows has the mean of the training rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

_PERMUTATIONS = 999
_STEP = 32


class Drift(NamedTuple):
    """How far the mean of a batch is from that of the training rows.

    Parameters
    ----------
    statistic : float
        Hotelling's T², the squared Mahalanobis distance of the two means times
        ``n m / (n + m)`` for n training rows and m of the batch.
    pvalue : float
        How probable it is that a batch without drift has a statistic as large.
    mean_shift : ndarray of shape (n_features,), float64
        Mean of the batch less that of the training rows, in the units of the columns.
    """

    statistic: float
    pvalue: float
    mean_shift: NDArray[np.float64]


def hotelling_statistic(distance: float, n_samples: int, n_batch: int) -> float:
    """Return Hotelling's T² of a squared distance of two means.

    Parameters
    ----------
    distance : float
        Squared Mahalanobis distance of the means under the maximum-likelihood
        covariance of the `n_samples` rows of the fit.
    n_samples, n_batch : int
        Numbers of rows behind the two means.

    Examples
    --------
    >>> hotelling_statistic(0.5, n_samples=10, n_batch=10)
    2.25
    """
    weight = n_samples * n_batch / (n_samples + n_batch)
    return weight * distance * (n_samples - 1) / n_samples


def hotelling_pvalue(statistic: float, n_samples: int, n_features: int) -> float:
    """Return the p-value of Hotelling's T² for Gaussian rows.

    ``T² (n - d) / (d (n - 1))`` follows F with d and n - d degrees of freedom, where
    the covariance comes from the n rows of the fit alone.

    References
    ----------
    .. [1] T. W. Anderson, "An introduction to multivariate statistical analysis", 3rd
           ed., Wiley, 2003, Theorem 5.2.2.

    Examples
    --------
    >>> round(hotelling_pvalue(9.0, n_samples=100, n_features=2), 4)
    0.0141
    """
    factor = (n_samples - n_features) / (n_features * (n_samples - 1))
    return float(
        f_distribution.sf(statistic * factor, n_features, n_samples - n_features)
    )


def permutation_pvalue(
    white: NDArray[np.float64], n_batch: int, rng: np.random.Generator
) -> float:
    """Return how often a random batch's mean is as far from the others' as the first's.

    Where all rows are exchangeable, and were whitened by what does not depend on their
    order, a p-value of at most u has probability at most u.

    Parameters
    ----------
    white : ndarray of shape (n_samples, n_features), float64
        Whitened rows, those of the batch first.
    n_batch : int
        Number of rows of the batch, less than `n_samples`.
    rng : numpy Generator

    Returns
    -------
    pvalue : float
        Of 999 random batches; at least 0.001.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> white = rng.normal(size=(200, 3))
    >>> white[:20] += 2.0
    >>> permutation_pvalue(white, 20, rng)
    0.001
    """
    n_samples = len(white)
    white = white - white.mean(axis=0)  # so means differ in proportion to sums
    observed = float(np.square(white[:n_batch].sum(axis=0)).sum())
    n_beyond = 0
    for start in range(0, _PERMUTATIONS, _STEP):
        n_drawn = min(_STEP, _PERMUTATIONS - start)
        keys = rng.random((n_drawn, n_samples))
        last = np.partition(keys, n_batch - 1, axis=1)[:, [n_batch - 1]]
        sums = (keys <= last).astype(np.float64) @ white
        squares = np.square(sums).sum(axis=1)
        # Up to rounding, or a batch that is drawn again would not count.
        n_beyond += int((squares >= observed * (1 - 1e-9)).sum())
    return (1 + n_beyond) / (1 + _PERMUTATIONS)
