"""How far a generator gives its training rows away."""

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from ..neighbors import NeighborIndex
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
    nearest = index.query(generated, 1)
    close = nearest.distances[:, 0] <= to_other[nearest.indices[:, 0]]
    return float(np.mean(close))


def membership_auc(
    X_train: Any, X_test: Any, X_generated: Any, *, features: Features = None
) -> float:
    """Return how well an attacker tells training rows from others by generated rows.

    The attacker sees generated rows alone and calls a row a member of the training
    set when the generated row nearest to it is near. The result is the area under the
    ROC curve of that attack: 0.5 where nothing leaks, 1 where every training row is
    nearer to a generated one than every other row. Its standard error where nothing
    leaks is ``sqrt((1 / n_train + 1 / n_test) / 12)`` or so.

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
    index = NeighborIndex.build(generated)
    distances = index.query(np.concatenate([train, test]), 1).distances[:, 0]
    member = np.arange(len(distances)) < len(train)
    return float(roc_auc_score(member, -distances))
