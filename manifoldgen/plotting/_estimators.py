"""What a display asks of a fitted estimator, ours or a stock one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array


def rows_of(X: Any) -> NDArray[Any]:
    """Return `X` as a numeric array of at least two dimensions, its dtype kept."""
    return check_array(X, dtype="numeric", allow_nd=True)


def latents_of(estimator: Any, X: Any) -> tuple[NDArray[Any], Any]:
    """Return the latents of `X` and the estimator that gave them.

    A Pipeline that ends in a generator gives those of the steps before it, and an
    embedding that cannot transform gives its `embedding_`.
    """
    if hasattr(estimator, "transform"):
        return np.asarray(estimator.transform(X)), estimator
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        head = estimator[:-1]
        if hasattr(head, "transform"):
            return np.asarray(head.transform(X)), head
    embedding = getattr(estimator, "embedding_", None)
    if embedding is None:
        raise TypeError(
            f"estimator must have transform, be a Pipeline of transformers and a "
            f"generator, or hold embedding_, got {type(estimator).__name__}."
        )
    if len(embedding) != len(X):
        raise ValueError(
            f"X must be the {len(embedding)} rows that {type(estimator).__name__} was "
            f"fitted on, because it cannot transform others, got {len(X)} rows."
        )
    return np.asarray(embedding), estimator


def trained_step(estimator: Any, step: str | None) -> tuple[Any, str | None]:
    """Return the estimator that holds `history_`, and the name of its step."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        if step is not None:
            raise ValueError(
                f"step must be None where estimator is no Pipeline, got {step!r}."
            )
        if not isinstance(getattr(estimator, "history_", None), Mapping):
            raise TypeError(
                f"estimator must be fitted and hold history_, which "
                f"{type(estimator).__name__} does not."
            )
        return estimator, None
    trained = {
        name: last
        for name, last in estimator.steps
        if isinstance(getattr(last, "history_", None), Mapping)
    }
    if not trained:
        names = ", ".join(repr(name) for name, _ in estimator.steps)
        raise TypeError(
            f"estimator must have a fitted step that holds history_; none of {names} "
            f"does."
        )
    if step is None and len(trained) == 1:
        step = next(iter(trained))
    if step not in trained:
        choices = ", ".join(repr(name) for name in trained)
        raise ValueError(f"step must be one of {choices}, got {step!r}.")
    return trained[step], step
