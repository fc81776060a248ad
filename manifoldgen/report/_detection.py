"""Rows that a detector should find, and how well it does."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_array

from .._arrays import column_moments, flatten_images
from .._random import random_state_of


def corrupted_rows(
    X: Any, *, image: bool = False, noise: float = 0.25, random_state: Any = None
) -> dict[str, NDArray[np.float64]]:
    """Return copies of rows, each spoilt in a way that a detector should find.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), or images
    image : bool, default=False
        Whether the features of a row are pixels, with one scale for all of them.
    noise : float, default=0.25
        Standard deviation of the noise, as a share of the range of the pixels of
        images, and in standard deviations of each column of other rows.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    corrupted : dict of str to ndarray of shape (n_samples, n_features), float64
        "noise" adds Gaussian noise. "shuffled" permutes the pixels of each image, or
        the values of each column of other rows, which leaves every column as it was
        and breaks what ties them. "inverted" turns low values into high ones, within
        the range of the pixels or of the column. Images stay in their range.

    Examples
    --------
    >>> rows = [[0.0, 1.0], [0.5, 1.0]]
    >>> corrupted_rows(rows, image=True, random_state=0)["inverted"].tolist()
    [[1.0, 0.0], [0.5, 0.0]]
    """
    rows = check_array(flatten_images(X)[0], dtype=np.float64)
    rng = random_state_of(random_state)
    axis = None if image else 0
    low, high = rows.min(axis=axis), rows.max(axis=axis)
    unit = high - low if image else column_moments(rows)[1]
    noisy = rows + noise * unit * rng.standard_normal(rows.shape)
    order = rng.random_sample(rows.shape).argsort(axis=1 if image else 0)
    return {
        "noise": np.clip(noisy, low, high) if image else noisy,
        "shuffled": np.take_along_axis(rows, order, axis=1 if image else 0),
        "inverted": low + high - rows,
    }


def detection_report(
    scorers: Mapping[str, Any], X_normal: Any, abnormal: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return how well scores tell normal rows from several kinds of others.

    Parameters
    ----------
    scorers : mapping of str to estimator
        Fitted, with `score_samples`, high for normal rows.
    X_normal : array-like of shape (n_normal, n_features)
        Rows like those of training, which no scorer has seen.
    abnormal : mapping of str to array-like of shape (n_abnormal, n_features)
        Rows to be found, by kind.

    Returns
    -------
    report : dict of str to dict of str to float
        Area under the ROC curve by scorer and kind: the share of pairs of a normal and
        another row in which the normal one scores higher. 1 finds all, 0.5 is chance.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> scorers = {"mixture": GaussianMixture().fit(X[:100])}
    >>> detection_report(scorers, X[100:], {"far": X[100:] + 9})
    {'mixture': {'far': 1.0}}
    """
    report: dict[str, dict[str, float]] = {}
    for name, scorer in scorers.items():
        normal = scorer.score_samples(X_normal)
        report[name] = {
            kind: _auroc(normal, scorer.score_samples(rows))
            for kind, rows in abnormal.items()
        }
    return report


def _auroc(normal: NDArray[Any], abnormal: NDArray[Any]) -> float:
    is_normal = np.r_[np.ones(len(normal)), np.zeros(len(abnormal))]
    return float(roc_auc_score(is_normal, np.r_[normal, abnormal]))
