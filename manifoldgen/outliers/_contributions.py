"""Which columns, or which directions, make a row far."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd

from ..covariance import Factor
from ..covariance._whitening import Kernel, map_blocks, padded
from ._law import Law


def feature_rotation(factor: Factor) -> NDArray[np.float64]:
    """Return the rotation after which whitened columns belong to the columns of X.

    Of all whitenings z of x, that by :math:`P^{-1/2} D^{-1/2}`, with the correlation
    matrix P and the variances D, has columns that are together most correlated with
    those of x. So the square of each is what its column adds to the squared distance.

    Parameters
    ----------
    factor : Factor

    Returns
    -------
    rotation : ndarray of shape (n_features, n_features), float64
        Q such that ``factor.whiten(X) @ Q`` is that whitening.

    References
    ----------
    .. [1] P. Garthwaite, I. Koch, "Evaluating the contributions of individual variables
           to a quadratic form", Australian & New Zealand J. of Statistics 58(1), 2016
           (the corr-max transformation).

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen.covariance import Moments, factor
    >>> total = Moments(9, np.zeros(2), 9 * np.diag([4.0, 1.0]))
    >>> law = factor(total, "empirical", ridge=0.0)
    >>> white = law.whiten(np.array([[2.0, 3.0]])) @ feature_rotation(law)
    >>> (white**2).round(6)
    array([[1., 9.]])
    """
    std = np.sqrt(factor.covariance().diagonal())
    # The polar factor: std W is a root of P^-1, and its product with Q the symmetric.
    left, _, right = svd(std[:, None] * factor.whitening())
    rotation: NDArray[np.float64] = right.T @ left.T
    return rotation


def direction_rotation(factor: Factor) -> NDArray[np.float64]:
    """Return the rotation after which whitened columns are principal directions.

    Parameters
    ----------
    factor : Factor

    Returns
    -------
    rotation : ndarray of shape (n_features, n_features), float64
        Q such that column k of ``factor.whiten(X) @ Q`` is the k-th principal
        component divided by its standard deviation, that of largest variance first.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen.covariance import Moments, factor
    >>> total = Moments(9, np.zeros(2), 9 * np.diag([1.0, 4.0]))
    >>> law = factor(total, "empirical", ridge=0.0)
    >>> white = law.whiten(np.array([[2.0, 3.0]])) @ direction_rotation(law)
    >>> (white**2).round(6)
    array([[2.25, 4.  ]])
    """
    _, _, right = svd(factor.whitening())
    rotation: NDArray[np.float64] = right[::-1].T
    return rotation


def contributions_of(
    law: Law, rotations: list[NDArray[np.float64]], rows: NDArray[Any]
) -> NDArray[np.float64]:
    """Return what each column adds to the squared distance from the nearest mean.

    Parameters
    ----------
    law : Law
    rotations : list of ndarray of shape (n_features, n_features)
        Of the whitened rows, one for each covariance of the law.
    rows : ndarray of shape (n_samples, n_features)

    Returns
    -------
    contributions : ndarray of shape (n_samples, n_features), float64
        Not negative; a row's add up to its squared distance.
    """
    result = np.empty(rows.shape)
    nearest = law.distances(rows).argmin(axis=1)
    for number in np.unique(nearest).tolist():
        mine = nearest == number
        factor = law.of(number)
        rotation = rotations[number if len(rotations) > 1 else 0]
        centre = factor.whiten(law.means[[number]])[0]
        kernel = partial(_rotation_kernel, rotation)
        turned = map_blocks(
            factor.whiten(rows[mine]), centre, kernel, (law.means.shape[1],)
        )
        result[mine] = np.square(turned)
    return result


def _rotation_kernel(rotation: NDArray[np.float64]) -> Kernel:
    n_features = len(rotation)
    factor = padded(rotation)

    def kernel(centred: NDArray[np.float64]) -> NDArray[np.float64]:
        turned: NDArray[np.float64] = centred @ factor
        return turned[:, :n_features]

    return kernel
