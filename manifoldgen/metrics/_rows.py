"""Rows, features of rows and labels, as the measures take them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from .._arrays import flatten_images

_LARGEST = 1e150
_Rows = NDArray[np.float64]
Features = Callable[[Any], Any] | None


def two_samples(
    X: Any,
    Y: Any,
    x_name: str,
    y_name: str,
    *,
    min_rows: int = 1,
    features: Features = None,
) -> tuple[_Rows, _Rows]:
    """Return two samples, or features of them, as float64 rows of the same columns."""
    A = feature_rows(x_name, X, features, min_rows)
    B = feature_rows(y_name, Y, features, min_rows)
    same_columns(x_name, A, y_name, B)
    return A, B


def same_columns(x_name: str, A: _Rows, y_name: str, B: _Rows) -> None:
    """Raise where two samples do not have the same number of columns."""
    if A.shape[1] != B.shape[1]:
        raise ValueError(
            f"{x_name} and {y_name} must have as many columns as each other, got "
            f"{A.shape[1]} and {B.shape[1]}."
        )


def feature_rows(name: str, X: Any, features: Features, n_min: int = 1) -> _Rows:
    """Return `X`, or what `features` makes of it as it is, as finite float64 rows."""
    if features is None:
        return as_rows(name, X, n_min)
    if not callable(features):
        raise TypeError(
            "features must be None or a callable that maps rows to an array of "
            f"features, got {features!r}."
        )
    made = np.asarray(features(X))
    rule = f"features must return one finite row for each row of {name}, got"
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if made.ndim != 2 or made.dtype.kind not in "fiub" or made.shape[1] == 0:
        raise ValueError(f"{rule} an array of shape {made.shape} and {made.dtype}.")
    if len(made) != n:
        raise ValueError(f"{rule} {len(made)} rows for {n}.")
    if not np.isfinite(made).all():
        bad = int((~np.isfinite(made)).any(axis=1).sum())
        raise ValueError(f"{rule} {bad} of {n} with NaN or infinity.")
    return as_rows(f"features({name})", made, n_min)


def as_rows(name: str, X: Any, n_min: int = 1) -> _Rows:
    """Return `X` as finite float64 rows, images flattened."""
    rows: _Rows = check_array(
        flatten_images(X)[0],
        dtype=np.float64,
        order="C",  # or the last bit depends on the layout
        ensure_min_samples=n_min,
        input_name=name,
    )
    size = max(float(rows.max()), -float(rows.min()))
    if size > _LARGEST:
        raise ValueError(
            f"{name} must hold values up to 1e150, whose squares are finite, got one "
            f"of size {size:.3g}. Divide {name} by a constant first."
        )
    return rows


def labels_of(name: str, y: Any, rows_name: str, n: int) -> NDArray[Any]:
    """Return one label for each of n rows."""
    labels: NDArray[Any] = column_or_1d(y)
    if len(labels) != n:
        raise ValueError(
            f"{name} must have one label for each of the {n} rows of {rows_name}, got "
            f"{len(labels)}."
        )
    check_classification_targets(labels)
    return labels
