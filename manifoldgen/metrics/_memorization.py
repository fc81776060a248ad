"""How far a generator gives its training rows away."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ..neighbors import NeighborIndex, Neighbors
from ._rows import Features, feature_rows, same_columns, two_samples


def near_copy_share(
    X_train: Any, X_generated: Any, *, features: Features = None
) -> float:
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
    features : callable, default=None
        Maps either sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.

    Returns
    -------
    share : float
        In [0, 1]. Memory is a few blocks of pairs beside copies of the rows.

    Raises
    ------
    ValueError
        If there are fewer than 2 training rows, the columns do not match, a value
        is not finite, or `features` does not return one row for each.

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
    train, generated = two_samples(
        X_train, X_generated, "X_train", "X_generated", features=features
    )
    if len(train) < 2:
        raise ValueError("X_train must have at least 2 rows, got 1.")
    index = NeighborIndex.build(train)
    to_other = index.query_itself(1).distances[:, 0]
    return float(np.mean(near_copies(index.query(generated, 1), to_other)))


def near_copies(nearest: Neighbors, to_other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows are no farther from a training row than its like is.

    Parameters
    ----------
    nearest : Neighbors
        The training row nearest to each row, in the first column.
    to_other : ndarray of shape (n_train,)
        Distance of each training row to the nearest other one.

    Returns
    -------
    close : ndarray of shape (n,), bool
    """
    close: NDArray[np.bool_] = (
        nearest.distances[:, 0] <= to_other[nearest.indices[:, 0]]
    )
    return close


def membership_auc(
    X_train: Any, X_test: Any, X_generated: Any, *, features: Features = None
) -> float:
    """Return how well an attacker tells training rows from others by generated rows.

    The attacker sees generated rows alone and calls a row a member of the training
    set when the generated row nearest to it is near. The result is the area under the
    ROC curve of that attack: 0.5 where nothing leaks, 1 where every training row is
    nearer to a generated one than every other row. Its standard error where nothing
    leaks is ``sqrt((n_train + n_test + 1) / (12 * n_train * n_test))``.

    Parameters
    ----------
    X_train : array-like of shape (n_train, n_features)
        Rows that the generator was fitted on, or some of them; images are flattened.
    X_test : array-like of shape (n_test, n_features)
        Rows of the same distribution that it never saw; any number of them.
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows: the more, the more leaks.
    features : callable, default=None
        Maps each sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.

    Returns
    -------
    auc : float
        In [0, 1]. Memory is a few blocks of pairs beside copies of the rows.

    Raises
    ------
    ValueError
        If the columns do not match, a value is not finite, or `features` does not
        return one row for each.

    References
    ----------
    .. [1] D. Chen, N. Yu, Y. Zhang, M. Fritz, "GAN-Leaks: A Taxonomy of Membership
       Inference Attacks against Generative Models", CCS 2020, arXiv:1909.03935,
       section 5.2, the attack on generated rows alone, Eq. (4).

    Examples
    --------
    >>> from manifoldgen import membership_auc
    >>> membership_auc([[0.0], [1.0]], [[0.4], [7.0]], [[0.1], [0.8]])
    1.0
    """
    train, generated = two_samples(
        X_train, X_generated, "X_train", "X_generated", features=features
    )
    test = feature_rows("X_test", X_test, features)
    same_columns("X_train", train, "X_test", test)
    return auc_of(*distances_to(generated, train, test))


def distances_to(generated: Any, *samples: Any) -> tuple[NDArray[np.float64], ...]:
    """Return how far each row of each sample is from the nearest generated row.

    Parameters
    ----------
    generated : ndarray of shape (n_generated, n_features)
    *samples : ndarray of shape (n, n_features)

    Returns
    -------
    distances : tuple of ndarray of shape (n,)
        One for each sample.
    """
    index = NeighborIndex.build(generated)
    return tuple(index.query(rows, 1).distances[:, 0] for rows in samples)


def auc_of(of_train: NDArray[np.float64], of_test: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve of calling near rows training rows."""
    distances = np.concatenate([of_train, of_test])
    member = np.arange(len(distances)) < len(of_train)
    return float(roc_auc_score(member, -distances))


def auc_error(n_train: int, n_test: int) -> float:
    """Return the standard error of such an area where nothing leaks.

    It is that of the statistic of Mann and Whitney, exact but for equal distances,
    which lower it, whatever the rows and the generator are.
    """
    return math.sqrt((n_train + n_test + 1) / (12 * n_train * n_test))
