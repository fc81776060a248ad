"""How well coordinates keep distances, their order, labels, and the way back."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._arrays import flatten_images
from .._validation import check_int

_BLOCK = 2**21  # float64 numbers in one block: 16 MB
_Rows = NDArray[np.float64]


class ShepardPairs(NamedTuple):
    """Distances of pairs of rows in the data and in the map, by name.

    Parameters
    ----------
    distances_X : ndarray of shape (n_pairs,), float64
        In the units of the data.
    distances_Z : ndarray of shape (n_pairs,), float64
        Of the same pairs, in the units of the coordinates.
    """

    distances_X: NDArray[np.float64]
    distances_Z: NDArray[np.float64]


def shepard_pairs(
    X: Any, Z: Any, *, n_pairs: int = 10_000, random_state: Any = 0
) -> ShepardPairs:
    """Return the distances of pairs of rows in the data and in the map.

    Drawn against each other they are the Shepard diagram: a rising line where the map
    keeps distances, a rising cloud where it keeps their order.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data; images of any shape are flattened.
    Z : array-like of shape (n_samples, n_components)
        Their coordinates.
    n_pairs : int, default=10_000
        Pairs to draw at random, each on its own; all pairs where they are not more.
    random_state : int, RandomState or None, default=0
        What decides which pairs are drawn.

    Returns
    -------
    pairs : ShepardPairs
        Named tuple with `distances_X` and `distances_Z`: Euclidean, float64, of shape
        (n_pairs,) or of as many as there are.

    Raises
    ------
    ValueError
        If X and Z have fewer than 2 rows or not as many as each other, a value is not
        finite, or `n_pairs` < 1.

    References
    ----------
    .. [1] R. N. Shepard, "The analysis of proximities: multidimensional scaling with
       an unknown distance function", Psychometrika 27, 1962.

    Examples
    --------
    >>> from manifoldgen import shepard_pairs
    >>> pairs = shepard_pairs([[0.0], [1.0], [3.0]], [[0.0], [2.0], [0.5]])
    >>> pairs.distances_X, pairs.distances_Z
    (array([1., 3., 2.]), array([2. , 0.5, 1.5]))
    """
    A, B = paired_rows(X, Z, n_min=2)
    n_pairs = check_int("n_pairs", n_pairs)
    n = len(A)
    if n * (n - 1) // 2 <= n_pairs:
        i, j = np.triu_indices(n, 1)
    else:
        i, j = _distinct_rows(n, 2, n_pairs, random_state)
    return ShepardPairs(np.sqrt(_squared(A, i, j)), np.sqrt(_squared(B, i, j)))


def paired_rows(X: Any, Z: Any, n_min: int) -> tuple[_Rows, _Rows]:
    """Return data and coordinates as float64 rows, as many of the one as the other."""
    A, B = as_rows("X", X, n_min), as_rows("Z", Z, n_min)
    if len(A) != len(B):
        raise ValueError(
            f"X and Z must have as many rows as each other, got {len(A)} and {len(B)}."
        )
    return A, B


def as_rows(name: str, X: Any, n_min: int = 1) -> _Rows:
    """Return `X` as finite float64 rows, images flattened."""
    rows: _Rows = check_array(
        flatten_images(X)[0],
        dtype=np.float64,
        order="C",  # or the last bit depends on the layout
        ensure_min_samples=n_min,
        input_name=name,
    )
    return rows


def _distinct_rows(
    n: int, per_draw: int, n_draws: int, random_state: Any
) -> list[NDArray[np.int64]]:
    """Draw `n_draws` ordered pairs, or triplets, of different rows out of n."""
    from .._random import random_state_of  # loads torch

    rng = random_state_of(random_state)
    drawn: list[NDArray[np.int64]] = []
    for taken in range(per_draw):
        row = rng.randint(n - taken, size=n_draws)
        # past those taken before, in rising order, each left row is as likely
        for other in np.sort(np.array(drawn).reshape(taken, n_draws), axis=0):
            row += row >= other
        drawn.append(row)
    return drawn


def _squared(A: _Rows, i: NDArray[Any], j: NDArray[Any]) -> _Rows:
    """Return the squared distances of the pairs (i, j), by differences."""
    squared = np.empty(len(i))
    step = max(1, _BLOCK // A.shape[1])
    for start in range(0, len(i), step):
        pairs = slice(start, start + step)
        squared[pairs] = np.square(A[i[pairs]] - A[j[pairs]]).sum(axis=1)
    return squared
