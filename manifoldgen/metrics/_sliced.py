"""Wasserstein distances of two samples along random directions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import map_on_threads
from .._validation import check_int
from ._rows import Features, two_samples

_BLOCK = 2**19  # projected values of both samples in one block: 4 MB
_Rows = NDArray[np.float64]


def sliced_wasserstein(
    X_real: Any,
    X_generated: Any,
    *,
    p: int = 2,
    n_projections: int = 500,
    features: Features = None,
    random_state: Any = 0,
) -> float:
    """Return the mean Wasserstein distance of two samples along random directions.

    ``(E W_p(<u, X>, <u, Y>)**p)**(1/p)`` over directions u on the unit sphere: 0 for
    equal samples alone. On a line the best transport pairs quantiles, so samples
    are sorted, and those of different sizes are compared exactly. Columns count in
    their own units, so scale those that have different ones.

    Parameters
    ----------
    X_real : array-like of shape (n_real, n_features)
        Real rows; images are flattened.
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows, of any number.
    p : {1, 2}, default=2
        Whether gaps count by their size or their square.
    n_projections : int, default=500
        Directions; the error that comes of their choice falls with their root.
    features : callable, default=None
        Maps either sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.
    random_state : int, RandomState or None, default=0
        What decides which directions are drawn.

    Returns
    -------
    distance : float
        In the units of the columns. Memory is a few blocks of projections beside
        copies of the rows.

    Raises
    ------
    ValueError
        If `p` is neither 1 nor 2, `n_projections` < 1, the columns do not match, a
        value is not finite, or `features` does not return one row for each.

    References
    ----------
    .. [1] N. Bonneel, J. Rabin, G. Peyré, H. Pfister, "Sliced and Radon Wasserstein
       Barycenters of Measures", Journal of Mathematical Imaging and Vision 51, 2015,
       section 3.

    Examples
    --------
    >>> from manifoldgen import sliced_wasserstein
    >>> sliced_wasserstein([[0.0], [1.0]], [[5.0], [2.0], [5.0], [2.0]])
    3.1622776601683795
    """
    from .._random import random_state_of  # loads torch

    p = check_int("p", p, low=1, high=2)
    n_projections = check_int("n_projections", n_projections)
    A, B = two_samples(X_real, X_generated, "X_real", "X_generated", features=features)
    directions = random_state_of(random_state).randn(n_projections, A.shape[1])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    a_steps, b_steps, weights = _common_steps(len(A), len(B))
    step = max(1, _BLOCK // (len(A) + len(B)))

    def costs(start: int) -> _Rows:
        some = directions[start : start + step]
        a, b = (np.sort(some @ rows.T, axis=1) for rows in (A, B))
        gaps = np.abs(a[:, a_steps] - b[:, b_steps])
        return gaps**p @ weights

    starts = range(0, n_projections, step)
    found = np.concatenate([*map_on_threads(costs, starts, A.shape[1])])
    return float(np.mean(found) ** (1 / p))


def _common_steps(
    n: int, m: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return where two quantile functions stand between their jumps, and how long.

    The one jumps at multiples of 1/n and the other at those of 1/m: whole numbers of
    1/(n m), which nothing rounds.
    """
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    starts = np.concatenate([[0], ends[:-1]])
    return starts // m, starts // n, (ends - starts) / (n * m)
