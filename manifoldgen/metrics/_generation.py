"""How near generated rows are to real ones; Euclidean, exact, in blocks of rows."""

from math import fsum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._arrays import flatten_images
from .._validation import check_int
from ..neighbors import distance_blocks, recompute


class PRDC(NamedTuple):
    """Precision, recall, density and coverage of generated rows, by name."""

    precision: float
    recall: float
    density: float
    coverage: float


def energy_distance(X: Any, Y: Any, *, unbiased: bool = False) -> float:
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

    Returns
    -------
    distance : float
        In the units of the columns. Memory is 32 MB beside copies of the rows, or
        one row of distances where that is more.

    Raises
    ------
    ValueError
        If the columns do not match, a value is not finite, or `unbiased` has fewer
        than 2 rows in a sample.

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
    A, B = _two_samples(X, Y, "X", "Y", min_rows=2 if unbiased else 1)
    within_a, within_b = _mean_distance(A, A), _mean_distance(B, B)
    if unbiased:
        within_a *= len(A) / (len(A) - 1)
        within_b *= len(B) / (len(B) - 1)
        return 2 * _mean_distance(A, B) - within_a - within_b
    # Rounding alone can push the difference of equal samples below 0.
    return max(0.0, 2 * _mean_distance(A, B) - within_a - within_b)


def precision_recall_density_coverage(
    X_real: Any, X_generated: Any, *, n_neighbors: int = 5
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

    Returns
    -------
    result : PRDC
        Named tuple with `precision`, `recall`, `density`, `coverage`: all in [0, 1]
        but density, which may exceed 1. Memory is 64 MB or so beside copies of the
        rows.

    Raises
    ------
    ValueError
        If `n_neighbors` is out of bounds, the columns do not match, a value is not
        finite, or more than `n_neighbors` real rows are equal: their balls are empty.

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
    real, generated = _two_samples(X_real, X_generated, "X_real", "X_generated", 2)
    k = check_int(
        "n_neighbors",
        n_neighbors,
        high=min(len(real), len(generated)) - 1,
        hint=f"X_real has {len(real)} rows and X_generated {len(generated)}, and a "
        f"row is not its own neighbour.",
    )
    real_radii = _squared_radii(real, k)
    _refuse_empty_balls(real_radii, k)
    generated_radii = _squared_radii(generated, k)
    balls_around_generated = np.zeros(len(generated), dtype=np.int64)
    covered, recalled = np.zeros((2, len(real)), dtype=bool)
    for rows, squared, error in distance_blocks(real, generated):
        radii = real_radii[rows, np.newaxis]
        close = np.abs(squared - radii) <= error
        close |= np.abs(squared - generated_radii) <= error
        recompute(squared, close, real[rows], generated)
        inside = squared < radii
        balls_around_generated += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (squared < generated_radii).any(axis=1)
    return PRDC(
        precision=float(np.mean(balls_around_generated > 0)),
        recall=float(np.mean(recalled)),
        density=float(np.mean(balls_around_generated) / k),
        coverage=float(np.mean(covered)),
    )


def near_copy_share(X_train: Any, X_generated: Any) -> float:
    """Return the share of generated rows that nearly repeat a training row.

    A generated row counts when the training row nearest to it is no farther from it
    than from the nearest other training row; an exact copy always counts. New rows of
    the same distribution count too, about half of them, so compare with the share
    that held-out rows get: well above it, a model memorises.

    Parameters
    ----------
    X_train : array-like of shape (n_train, n_features)
        The rows that the generator was fitted on; images are flattened.
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows, or held-out real ones for comparison.

    Returns
    -------
    share : float
        In [0, 1]. Memory is 64 MB or so beside copies of the rows.

    Raises
    ------
    ValueError
        If there are fewer than 2 training rows, the columns do not match, or a value
        is not finite.

    References
    ----------
    .. [1] A. M. Alaa et al., "How Faithful is your Synthetic Data? Sample-level
       Metrics for Evaluating and Auditing Generative Models", ICML 2022,
       arXiv:2102.08921: 1 minus the authenticity of its section 4.3, in data space.

    Examples
    --------
    >>> from manifoldgen.metrics import near_copy_share
    >>> train = [[0.0], [1.0], [3.0]]
    >>> near_copy_share(train, [[0.0], [0.5], [-5.0], [6.0]])
    0.5
    """
    train, generated = _two_samples(X_train, X_generated, "X_train", "X_generated", 1)
    if len(train) < 2:
        raise ValueError("X_train must have at least 2 rows, got 1.")
    to_other = _squared_radii(train, 1)
    copies = 0
    for rows, squared, error in distance_blocks(generated, train):
        least = squared.min(axis=1, keepdims=True)
        close = squared - least <= 2 * error.max(axis=1, keepdims=True)
        recompute(squared, close, generated[rows], train)
        nearest = squared.argmin(axis=1)
        copies += int((squared.min(axis=1) <= to_other[nearest]).sum())
    return copies / len(generated)


def _two_samples(
    X: Any, Y: Any, x_name: str, y_name: str, min_rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    A, B = (
        check_array(
            flatten_images(rows)[0],
            dtype=np.float64,
            order="C",  # or the last bit depends on the layout
            ensure_min_samples=min_rows,
            input_name=name,
        )
        for rows, name in ((X, x_name), (Y, y_name))
    )
    if A.shape[1] != B.shape[1]:
        raise ValueError(
            f"{x_name} and {y_name} must have as many columns as each other, got "
            f"{A.shape[1]} and {B.shape[1]}."
        )
    return A, B


def _mean_distance(A: NDArray[np.float64], B: NDArray[np.float64]) -> float:
    """Return the mean distance over all pairs, each to about 1e-9 of itself."""
    sums = []
    for rows, squared, error in distance_blocks(A, B):
        recompute(squared, squared <= 1e9 * error, A[rows], B)
        sums.append(float(np.sqrt(squared, out=squared).sum()))
    return fsum(sums) / (len(A) * len(B))


def _squared_radii(A: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the squared distance of each row to its k-th neighbour in the sample."""
    radii = np.empty(len(A))
    for rows, squared, error in distance_blocks(A, A):
        # The row itself is the nearest one of all, at 0.
        rough = np.partition(squared, k, axis=1)[:, [k]]
        close = np.abs(squared - rough) <= 2 * error.max(axis=1, keepdims=True)
        recompute(squared, close, A[rows], A)
        radii[rows] = np.partition(squared, k, axis=1)[:, k]
    return radii


def _refuse_empty_balls(real_radii: NDArray[np.float64], k: int) -> None:
    empty = int((real_radii == 0.0).sum())
    if empty:
        raise ValueError(
            f"X_real must have no row with n_neighbors={k} or more copies, but {empty} "
            f"rows have: no generated row can fall inside their balls of radius 0. "
            f"Drop duplicates with numpy.unique(X_real, axis=0) or raise n_neighbors."
        )
