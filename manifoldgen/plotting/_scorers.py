"""What the displays of scores ask of a fitted scorer, alone or behind transformers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted


def scorer_of(estimator: Any) -> tuple[Any, Any]:
    """Return the steps before a scorer, None where there are none, and the scorer.

    Parameters
    ----------
    estimator : scorer, Pipeline or search, fitted
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    check_is_fitted(estimator)
    *earlier, last = _steps_of(estimator) or [estimator]
    return make_pipeline(*earlier) if earlier else None, last


def _steps_of(estimator: Any) -> list[Any]:
    """Return the steps of pipelines in each other, as they are when thawed."""
    if isinstance(estimator, FrozenEstimator):
        return _steps_of(estimator.estimator)
    if not isinstance(estimator, Pipeline):
        passes = estimator is None or isinstance(estimator, str)
        return [] if passes else [estimator]
    return [part for _, step in estimator.steps for part in _steps_of(step)]


def rows_of_scorer(head: Any, X: Any) -> Any:
    """Return what the steps before a scorer make of rows."""
    return X if head is None else head.transform(X)


def answers_of(scorer: Any, method: str, rows: Any, **kwargs: Any) -> NDArray[Any]:
    """Return what a method of a scorer says of rows.

    Raises
    ------
    TypeError
        If it has no such method.
    """
    function = getattr(scorer, method, None)
    if not callable(function):
        raise TypeError(
            f"estimator must have {method}, or end in a step that has, which "
            f"{type(scorer).__name__} has not."
        )
    return np.asarray(function(rows, **kwargs))


def numbers_of(name: str, values: Any) -> NDArray[np.float64]:
    """Return one number for each row, infinite ones included.

    Raises
    ------
    ValueError
        If there is none, they are not in one row, or one of them is NaN.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(
            f"{name} must have shape (n,) with n >= 1, got {numbers.shape}."
        )
    if np.isnan(numbers).any():
        raise ValueError(f"{name} must hold no NaN, got {np.isnan(numbers).sum()}.")
    return numbers


def threshold_of(scorer: Any) -> float | None:
    """Return the score below which rows are outliers, None for no detector."""
    offset = getattr(scorer, "offset_", None)
    return None if offset is None else float(np.squeeze(offset))
