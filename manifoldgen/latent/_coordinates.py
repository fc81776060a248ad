"""What of an estimator goes to latent space and back, and the latents of rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array


def without_generator(estimator: Any) -> Any:
    """Return the steps before the last of a Pipeline that ends in a generator.

    Everything else is returned as it is.
    """
    ends_in_one = isinstance(estimator, Pipeline) and len(estimator.steps) > 1
    if ends_in_one and not hasattr(estimator, "transform"):
        return estimator[:-1]
    return estimator


def invertible_part(estimator: Any) -> Any:
    """Return what of `estimator` goes to latent space and back.

    That is itself, or the steps before the last of a Pipeline that ends in a
    generator.

    Raises
    ------
    TypeError
        If it has no `transform` or no `inverse_transform`.
    """
    part = without_generator(estimator)
    for method in ("transform", "inverse_transform"):
        if not hasattr(part, method):
            raise TypeError(
                f"manifold must have transform and inverse_transform; "
                f"{type(estimator).__name__} has no {method}. Use a manifold, or a "
                f"Pipeline in which each step can be inverted."
            )
    return part


def coordinates(manifold: Any, rows: Any) -> tuple[NDArray[Any], bool]:
    """Return the latents of one row or of several, and whether it was one.

    Parameters
    ----------
    manifold : estimator, fitted
        With `transform`.
    rows : array-like of shape (n_features,), an image as `fit` saw it, or several

    Returns
    -------
    Z : ndarray of shape (n, n_components)
    single : bool
        Whether `rows` is one row, without an axis that counts rows; n is then 1.
    """
    several, single = _as_rows(rows, _layout_of(manifold))
    return np.asarray(manifold.transform(several)), single


def latents_of_rows(manifold: Any, X: Any) -> NDArray[np.float64]:
    """Return the latents of rows as finite float64, of shape (n, n_components)."""
    Z = np.asarray(manifold.transform(X))
    return check_array(Z, dtype=np.float64, input_name="manifold.transform(X)")


def _layout_of(manifold: Any) -> tuple[int, ...] | None:
    """Return the shape of one image where `manifold` was fitted on images."""
    first = manifold.steps[0][1] if isinstance(manifold, Pipeline) else manifold
    return getattr(first, "_shape_in", None)


def _as_rows(value: Any, layout: tuple[int, ...] | None) -> tuple[Any, bool]:
    """Return rows that `transform` takes, and whether it was one without an axis."""
    if hasattr(value, "columns"):
        return value, False
    if hasattr(value, "to_frame") and hasattr(value, "index"):
        return value.to_frame().T, True  # a row of a frame: its columns keep names
    array = np.asarray(value)
    single = array.ndim < 2 or array.shape == layout
    return array.reshape(1, *array.shape) if single else array, single
