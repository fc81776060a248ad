"""Scores of any estimator, high for normal rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_IN_TURN = (
    "score_samples",
    "reconstruction_error",
    "predict_proba",
    "decision_function",
)
_BY_CLASS = ("predict_proba", "predict_log_proba", "decision_function")
_ROUND_TRIP = ("transform", "inverse_transform")


def scoring_method(estimator: Any, score: str | Callable[..., Any]) -> str:
    """Return the name of the method that scores come from, or "callable".

    Parameters
    ----------
    estimator : estimator
        Fitted, or not where that does not change its methods.
    score : str or callable
        "auto", the name of a method, or a function.

    Raises
    ------
    TypeError
        If the estimator has no such method.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.linear_model import LogisticRegression
    >>> scoring_method(PCA(), "auto"), scoring_method(LogisticRegression(), "auto")
    ('score_samples', 'predict_proba')
    """
    if callable(score):
        return "callable"
    goes_round = all(hasattr(estimator, name) for name in _ROUND_TRIP)
    if score == "auto":
        for name in _IN_TURN:
            if hasattr(estimator, name):
                return name
        if goes_round:
            return "reconstruction_error"
        raise TypeError(
            f"score_method='auto' needs an estimator with {', '.join(_IN_TURN)}, or "
            f"with transform and inverse_transform, got {estimator!r}. Pass a function "
            "of (estimator, X) in its place."
        )
    if hasattr(estimator, score) or (score == "reconstruction_error" and goes_round):
        return score
    raise TypeError(
        "score_method must be 'auto', a function or the name of a method of the "
        f"estimator, got {score!r}, which {estimator!r} lacks."
    )


def scores_of(
    estimator: Any, rows: NDArray[Any], score: str | Callable[..., Any]
) -> NDArray[np.float64]:
    """Return a score of each row, high for normal ones.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    rows : ndarray of shape (n_samples, n_features)
    score : str or callable
        What `scoring_method` returned, or a function of estimator and rows. What a
        method gives for each class counts by its maximum; "reconstruction_error" is
        turned round, and is the mean squared difference from what comes back where
        the estimator has no such method.

    Returns
    -------
    scores : ndarray of shape (n_samples,), float64

    Raises
    ------
    ValueError
        If there is not one number for each row.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> rows = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    >>> pca = PCA(1).fit(rows)
    >>> errors = -scores_of(pca, np.array([[3.0, 1.0]]), "reconstruction_error")
    >>> errors.round(6)
    array([1.])
    """
    if callable(score):
        return _one_a_row(score(estimator, rows), rows, "score_method")
    if hasattr(estimator, score):
        values = np.asarray(getattr(estimator, score)(rows), dtype=np.float64)
    else:
        values = _round_trip_error(estimator, rows)
    if values.ndim == 2 and score in _BY_CLASS:
        values = values.max(axis=1)
    scores = _one_a_row(values, rows, score)
    return -scores if score == "reconstruction_error" else scores


def _one_a_row(values: Any, rows: NDArray[Any], name: str) -> NDArray[np.float64]:
    scores = np.asarray(values, dtype=np.float64)
    if scores.shape != (len(rows),):
        raise ValueError(
            f"score_method must give one number for each row, got an array of shape "
            f"{scores.shape} from {name} for {len(rows)} rows."
        )
    return scores


def _round_trip_error(estimator: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
    restored = np.asarray(estimator.inverse_transform(estimator.transform(rows)))
    if restored.size != rows.size:
        raise ValueError(
            f"inverse_transform must give back rows of {rows.shape[1]} features, got "
            f"an array of shape {restored.shape} for {len(rows)} rows."
        )
    gaps = np.subtract(rows, restored.reshape(rows.shape), dtype=np.float64)
    errors: NDArray[np.float64] = np.einsum("ij,ij->i", gaps, gaps) / rows.shape[1]
    return errors
