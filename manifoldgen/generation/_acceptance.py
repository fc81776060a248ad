"""Which generated rows pass for rows of their class, and how well each does."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..covariance import (
    Moments,
    leave_one_out,
    moments,
    squared_distances,
    whitening_matrix,
)

Judge = Callable[
    [NDArray[Any], NDArray[np.int64]], tuple[NDArray[np.bool_], NDArray[np.float64]]
]
"""Takes rows and their codes; says which pass, and scores that are high for good."""

_RIDGE = 1e-3  # a column that is nearly constant in new rows too is no outlier


def everything(
    rows: NDArray[Any], codes: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Let all rows pass."""
    return np.ones(len(rows), dtype=bool), np.zeros(len(rows))


def by_distance(Z: NDArray[Any], codes: NDArray[np.int64], keep: float) -> Judge:
    """Return a judge of squared Mahalanobis distances to the class.

    The covariance of a class of n rows is ``w S + (1 - w) P`` with its own S, the one
    P pooled over all classes and ``w = n / (n + d)``, so that a class of few rows has
    one too. A row passes within the quantile `keep` of the distances of the real rows
    of the class, each as if it had been left out.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, d), float32 or float64
        Real rows.
    codes : ndarray of shape (n_samples,), int64
        Class of each, 0 to n_classes - 1, each there.
    keep : float
        In (0, 1].

    Returns
    -------
    judge : callable
        Of rows and codes; the score is minus the distance over that at the quantile.
    """
    n_classes = int(codes.max()) + 1
    own = [moments(Z[codes == c]) for c in range(n_classes)]
    free = max(len(Z) - n_classes, 1)
    pooled = sum((part.scatter for part in own), np.zeros((Z.shape[1],) * 2)) / free
    whitenings, limits = [], []
    for code, part in enumerate(own):
        covariance, weight = _steadied(part, pooled)
        whitening, _ = whitening_matrix(covariance, _RIDGE)
        distances = squared_distances(Z[codes == code], part.mean, whitening)
        if part.n_samples > 1:
            distances = leave_one_out(distances, part.n_samples, 1.0 - weight)
        whitenings.append(whitening)
        limits.append(max(float(np.quantile(distances, keep)), np.finfo(float).tiny))

    def judge(
        rows: NDArray[Any], asked: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        relative = np.empty(len(rows))
        for code in np.unique(asked):
            mine = asked == code
            relative[mine] = squared_distances(
                rows[mine], own[code].mean, whitenings[code]
            )
            relative[mine] /= limits[code]
        return relative <= 1.0, -relative

    return judge


def _steadied(
    part: Moments, pooled: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return the covariance of a class and the weight of its own rows in it."""
    weight = part.n_samples / (part.n_samples + len(pooled))
    return weight * part.covariance + (1.0 - weight) * pooled, weight


def by_classifier(classifier: Any, classes: NDArray[Any]) -> Judge:
    """Return a judge by what a fitted classifier calls a row.

    Parameters
    ----------
    classifier : estimator
        Has `predict`; scores are `predict_proba` of the class where it has that, else
        1 where the class is the predicted one.
    classes : ndarray of shape (n_classes,)
        Labels, of which codes are positions.

    Returns
    -------
    judge : callable
        Of rows and codes.
    """

    def judge(
        rows: NDArray[Any], asked: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        passed = np.asarray(classifier.predict(rows)) == classes[asked]
        if not hasattr(classifier, "predict_proba"):
            return passed, passed.astype(np.float64)
        columns = np.searchsorted(classifier.classes_, classes[asked])
        chance = classifier.predict_proba(rows)[np.arange(len(rows)), columns]
        return passed, np.asarray(chance, dtype=np.float64)

    return judge
