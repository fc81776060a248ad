"""Maximum mean discrepancy of two samples under a polynomial kernel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import map_on_threads
from .._validation import check_int, check_real
from ._rows import Features, two_samples

_ROWS, _COLUMNS = 256, 1024  # of one tile of pairs: 2 MB
_Rows = NDArray[np.float64]


def kernel_distance(
    X_real: Any,
    X_generated: Any,
    *,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    features: Features = None,
) -> float:
    """Return the unbiased squared kernel distance between two samples.

    The squared maximum mean discrepancy under ``(gamma x.y + coef0)**degree``, which
    is 0 on average where the distributions agree, for any number of rows. A kernel of
    degree 3 compares moments up to the third. Of features of an Inception network it
    is the KID, here of all pairs at once, where others take the mean over subsets.

    Parameters
    ----------
    X_real : array-like of shape (n_real, n_features)
        Real rows; images are flattened.
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows, of any number.
    degree : int, default=3
        Power of the kernel, at least 1.
    gamma : float, default=None
        Factor of the products, > 0; None is ``1 / n_features``.
    coef0 : float, default=1.0
        What is added to them, >= 0.
    features : callable, default=None
        Maps either sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.

    Returns
    -------
    distance : float
        In the units of the kernel; negative about half of the time where the
        distributions agree. Memory is a block of pairs beside copies of the rows.

    Raises
    ------
    ValueError
        If a sample has fewer than 2 rows, a parameter is out of bounds, the columns do
        not match, a value is not finite, `features` does not return one row for each,
        or the kernel leaves the range of float64.

    References
    ----------
    .. [1] M. Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, arXiv:1801.01401,
       section 4; the estimator is Eq. (4).

    Examples
    --------
    >>> from manifoldgen import kernel_distance
    >>> kernel_distance([[0.0], [2.0]], [[1.0], [1.0]], degree=2)
    -5.0
    >>> kernel_distance([[0.0], [2.0]], [[3.0], [3.0]], degree=2)
    51.0
    """
    degree = check_int("degree", degree)
    coef0 = check_real("coef0", coef0, low=0.0)
    if gamma is not None:
        gamma = check_real("gamma", gamma, low=0.0, closed="neither")
    A, B = two_samples(
        X_real, X_generated, "X_real", "X_generated", min_rows=2, features=features
    )
    scale = 1.0 / A.shape[1] if gamma is None else gamma
    # One factor of the root in each row costs less than one in each pair.
    A, B = A * np.sqrt(scale), B * np.sqrt(scale)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = (
            _mean_among(A, degree, coef0)
            + _mean_among(B, degree, coef0)
            - 2 * _mean_across(A, B, degree, coef0)
        )
    if not np.isfinite(distance):
        raise ValueError(
            "X_real and X_generated must have values whose kernel float64 can hold, "
            f"got one of size {max(np.abs(A).max(), np.abs(B).max()):.3g} after gamma. "
            "Lower gamma, or divide the rows by a constant."
        )
    return float(distance)


def _mean_among(A: _Rows, degree: int, coef0: float) -> float:
    """Return the mean kernel over the pairs of different rows of one sample."""
    n = len(A)

    def total(start: int) -> float:
        part = A[start : start + _ROWS]
        own = part @ part.T
        np.fill_diagonal(own, -coef0)
        # pairs with the rows before it are those of earlier parts turned round
        after = _sum_over_tiles(part, A[start + _ROWS :], degree, coef0)
        return 2 * after + _sum_of_powers(own, degree, coef0)

    return sum(map_on_threads(total, range(0, n, _ROWS), A.shape[1])) / (n * (n - 1))


def _mean_across(A: _Rows, B: _Rows, degree: int, coef0: float) -> float:
    def total(start: int) -> float:
        return _sum_over_tiles(A[start : start + _ROWS], B, degree, coef0)

    sums = map_on_threads(total, range(0, len(A), _ROWS), A.shape[1])
    return sum(sums) / (len(A) * len(B))


def _sum_over_tiles(part: _Rows, B: _Rows, degree: int, coef0: float) -> float:
    return sum(
        _sum_of_powers(part @ B[at : at + _COLUMNS].T, degree, coef0)
        for at in range(0, len(B), _COLUMNS)
    )


def _sum_of_powers(products: _Rows, degree: int, coef0: float) -> float:
    """Return the sum of the kernel; multiplying is many times faster than powers."""
    products += coef0
    if degree == 1:
        return float(products.sum())
    power = products
    for _ in range(degree - 2):
        power = power * products
    return float(np.vdot(power, products))
