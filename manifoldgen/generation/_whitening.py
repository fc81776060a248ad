"""Principal axes of standardised rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from .._threads import narrow_blas
from ..covariance import moments, oas_shrinkage, shrink

_LEAST_VARIANCE = 1e-8  # of a direction, relative to that of a column


def whitening_axes(
    units: NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrices to principal axes of variance 1, and back.

    Columns may repeat each other, or outnumber the rows. Directions that rows do not
    vary in get the variance that Oracle Approximating Shrinkage gives them, and at
    least 1e-8.

    Parameters
    ----------
    units : ndarray of shape (n_samples, d)
        Standardised rows: mean 0, standard deviation 1.

    Returns
    -------
    forward : ndarray of shape (d, d), float64
        The covariance of ``units @ forward`` is about the identity.
    back : ndarray of shape (d, d), float64
        Its inverse.

    Examples
    --------
    >>> import numpy as np
    >>> units = np.random.RandomState(0).standard_normal((1000, 2)) @ [[1, 1], [0, 0.1]]
    >>> forward, back = whitening_axes(units / units.std(axis=0))
    >>> np.round(forward @ back, 6) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """
    if not units.size:
        return np.empty((0, 0)), np.empty((0, 0))
    covariance = moments(units).covariance
    covariance = shrink(covariance, oas_shrinkage(covariance, len(units)))
    with narrow_blas(units.shape[1]):
        values, vectors = eigh(covariance)
    spread = np.sqrt(np.maximum(values, _LEAST_VARIANCE))
    return vectors / spread, (vectors * spread).T
