"""How far a covariance of few rows is moved to a sphere."""

import numpy as np
from numpy.typing import NDArray

from ._moments import Moments


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
    # Relative to the trace, so that no unit of the data over- or underflows a square.
    trace = float(np.trace(covariance))
    if trace <= 0:
        return float(len(covariance) > 1)
    square = float(np.sum(np.square(covariance / trace)))
    return oas_weight(square, n_samples, len(covariance))


def ledoit_wolf_shrinkage(total: Moments) -> float:
    """Return how far Ledoit's and Wolf's estimate moves a covariance to a sphere.

    The least of 1 and ``(Σ||x - mean||⁴/n - tr(S²)) / (n (tr(S²) - tr(S)²/d))``, the
    weight of ``tr(S)/d I``: an estimate, for rows of any distribution with fourth
    moments, of the weight of least expected squared error. It is for columns of one
    unit.

    Parameters
    ----------
    total : Moments
        With fourth powers: ``moments(X, fourth=True)``.

    Returns
    -------
    shrinkage : float
        In [0, 1]; 0 for one feature, where the target is the covariance itself.

    Raises
    ------
    ValueError
        If the moments are without fourth powers.

    References
    ----------
    .. [1] O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional
           covariance matrices", J. Multivariate Analysis 88(2), 2004, Sect. 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen.covariance import moments
    >>> X = np.random.default_rng(0).normal(size=(20, 3)) * [1.0, 2.0, 4.0]
    >>> round(ledoit_wolf_shrinkage(moments(X, fourth=True)), 4)
    0.4357
    """
    if total.fourth is None:
        raise ValueError(
            "total must be moments with fourth powers, got moments without. Take them "
            "by moments(X, fourth=True)."
        )
    trace = float(np.trace(total.scatter))
    if trace <= 0:
        return float(len(total.mean) > 1)
    square = float(np.sum(np.square(total.scatter / trace)))
    fourth = total.n_samples * (total.fourth / trace) / trace
    return ledoit_wolf_weight(square, fourth, total.n_samples, len(total.mean))


def oas_weight(square: float, n_samples: int, n_features: int) -> float:
    """Return the shrinkage from ``tr(S²) / tr(S)²``."""
    if n_features == 1:
        return 0.0
    numerator = (1 - 2 / n_features) * square + 1
    denominator = (n_samples + 1 - 2 / n_features) * (square - 1 / n_features)
    return 1.0 if denominator <= numerator else numerator / denominator


def ledoit_wolf_weight(
    square: float, fourth: float, n_samples: int, n_features: int
) -> float:
    """Return the shrinkage from `square` as in `oas_weight` and a mean fourth power.

    `fourth` is the mean over the rows of ``||x - mean||⁴ / tr(S)²``.
    """
    if n_features == 1:
        return 0.0
    numerator = (fourth - square) / n_samples
    denominator = square - 1 / n_features
    if numerator <= 0:
        return 0.0
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
