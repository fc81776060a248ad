"""How near generated rows are to real ones; Euclidean, exact, in blocks of rows."""

from math import fsum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._validation import check_int
from ..neighbors import distance_blocks, nearest_neighbors, recompute
from ._balls import tally_balls
from ._rows import Features, two_samples


class PRDC(NamedTuple):
    """Precision, recall, density and coverage of generated rows, by name."""

    precision: float
    recall: float
    density: float
    coverage: float


def energy_distance(
    X: Any, Y: Any, *, unbiased: bool = False, features: Features = None
) -> float:
    """Return the energy distance between two samples, 0 where they are alike.

    ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` with Euclidean norms: 0 between equal
    distributions and positive between any others. Columns count in their own units,
    so scale those that have different ones.

    Parameters
    ----------
    X : array-like of shape (n_samples_x, n_features)
        Rows, or images of any shape, which are flattened.
    Y : array-like of shape (n_samples_y, n_features)
        Rows of the other sample.
    unbiased : bool, default=False
        False takes the means over all pairs, a row with itself included (the
        V-statistic of [1]_): never negative, and 0 only for equal samples. True
        leaves out a row with itself (the U-statistic): right on average for any
        number of rows, so it compares samples of different sizes, but it is negative
        about half of the time where the distributions agree.
    features : callable, default=None
        Maps either sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.

    Returns
    -------
    distance : float
        In the units of the columns. Memory is 32 MB beside copies of the rows, or
        one row of distances where that is more.

    Raises
    ------
    ValueError
        If the columns do not match, a value is not finite, `unbiased` has fewer than
        2 rows in a sample, or `features` does not return one row for each.

    References
    ----------
    .. [1] G. J. Székely, M. L. Rizzo, "Energy statistics: A class of statistics based
       on distances", Journal of Statistical Planning and Inference 143, 2013,
       Eq. (6.1) without its factor nm/(n + m). `scipy.stats.energy_distance` is the
       square root of the same figure in one dimension.

    Examples
    --------
    >>> from manifoldgen import energy_distance
    >>> energy_distance([[0.0, 0.0]], [[3.0, 4.0]])
    10.0
    >>> energy_distance([[0.0], [2.0]], [[0.0], [2.0]])
    0.0
    """
    n_min = 2 if unbiased else 1
    A, B = two_samples(X, Y, "X", "Y", min_rows=n_min, features=features)
    within_a, within_b = _mean_distance(A, A), _mean_distance(B, B)
    if unbiased:
        within_a *= len(A) / (len(A) - 1)
        within_b *= len(B) / (len(B) - 1)
        return 2 * _mean_distance(A, B) - within_a - within_b
    # Rounding alone can push the difference of equal samples below 0.
    return max(0.0, 2 * _mean_distance(A, B) - within_a - within_b)


def precision_recall_density_coverage(
    X_real: Any,
    X_generated: Any,
    *,
    n_neighbors: int = 5,
    features: Features = None,
) -> PRDC:
    """Return how many generated rows look real, and how many real rows are reached.

    A ball around each row reaches to its `n_neighbors`-th neighbour in its own sample.
    *Precision* is the share of generated rows inside any real ball and *recall* the
    share of real rows inside any generated ball [1]_. *Density* counts the real balls
    that hold a generated row, over `n_neighbors`, and *coverage* is the share of real
    balls that hold one [2]_: both bear outliers better. Coverage sees dropped modes,
    density and precision see bad rows; rows of equal distributions have a density
    near 1 and a coverage near ``1 - 2**-n_neighbors``.

    Parameters
    ----------
    X_real : array-like of shape (n_real, n_features)
        Real rows that no model was trained on; images are flattened.
    X_generated : array-like of shape (n_generated, n_features)
        As many rows, or the figures are not comparable with those of other sizes.
    n_neighbors : int, default=5
        Neighbours that a ball reaches to; less than the rows of either sample.
    features : callable, default=None
        Maps either sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.

    Returns
    -------
    result : PRDC
        Named tuple with `precision`, `recall`, `density`, `coverage`: all in [0, 1]
        but density, which may exceed 1. Memory is a few blocks of pairs beside
        copies of the rows.

    Raises
    ------
    ValueError
        If `n_neighbors` is out of bounds, the columns do not match, a value is not
        finite, more than `n_neighbors` real rows are equal, so that their balls are
        empty, or `features` does not return one row for each.

    References
    ----------
    .. [1] T. Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing
       Generative Models", NeurIPS 2019, arXiv:1904.06991, Eq. (1)-(2).
    .. [2] M. F. Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative
       Models", ICML 2020, arXiv:2002.09797, Eq. (5)-(6). Balls are open, as in its
       code: a row at exactly the radius is outside.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import precision_recall_density_coverage
    >>> real = np.arange(10.0)[:, np.newaxis]
    >>> precision_recall_density_coverage(real, real[:5] + 0.5, n_neighbors=2)
    PRDC(precision=1.0, recall=0.7, density=1.1, coverage=0.6)
    """
    real, generated = two_samples(
        X_real,
        X_generated,
        "X_real",
        "X_generated",
        min_rows=2,
        features=features,
    )
    k = check_int(
        "n_neighbors",
        n_neighbors,
        high=min(len(real), len(generated)) - 1,
        hint=f"X_real has {len(real)} rows and X_generated {len(generated)}, and a "
        f"row is not its own neighbour.",
    )
    real_radii = _radii(real, k)
    _refuse_empty_balls(real_radii, k)
    tally = tally_balls(real, real_radii, generated, _radii(generated, k))
    return PRDC(
        precision=float(np.mean(tally.n_balls > 0)),
        recall=float(np.mean(tally.held)),
        density=float(np.mean(tally.n_balls) / k),
        coverage=float(np.mean(tally.holds)),
    )


def _mean_distance(A: NDArray[np.float64], B: NDArray[np.float64]) -> float:
    """Return the mean distance over all pairs, each to about 1e-9 of itself."""
    sums = []
    for rows, squared, error in distance_blocks(A, B):
        recompute(squared, squared <= 1e9 * error, A[rows], B)
        sums.append(float(np.sqrt(squared, out=squared).sum()))
    return fsum(sums) / (len(A) * len(B))


def _radii(A: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the distance of each row to its k-th neighbour in the sample."""
    return nearest_neighbors(A, k, method="exact").distances[:, -1]


def _refuse_empty_balls(real_radii: NDArray[np.float64], k: int) -> None:
    empty = int((real_radii == 0.0).sum())
    if empty:
        raise ValueError(
            f"X_real must have no row with n_neighbors={k} or more copies, but {empty} "
            f"rows have: no generated row can fall inside their balls of radius 0. "
            f"Drop duplicates with numpy.unique(X_real, axis=0) or raise n_neighbors."
        )
