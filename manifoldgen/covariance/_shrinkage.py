"""How far a covariance of few rows is moved to a sphere."""

import numpy as np
from numpy.typing import NDArray


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
    n_features = len(covariance)
    if n_features == 1:
        return 0.0
    # Relative to the trace, so that no unit of the data over- or underflows a square.
    trace = float(np.trace(covariance))
    if trace <= 0:
        return 1.0
    square = float(np.sum(np.square(covariance / trace)))
    numerator = (1 - 2 / n_features) * square + 1
    denominator = (n_samples + 1 - 2 / n_features) * (square - 1 / n_features)
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
