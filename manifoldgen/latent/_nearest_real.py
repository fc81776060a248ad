"""The real rows that generated ones are nearest to."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._arrays import flatten_images
from .._validation import check_int
from ..metrics._rows import feature_rows
from ..neighbors import NeighborIndex, Neighbors
from ._coordinates import without_generator


def nearest_real(
    X_generated: Any,
    X_real: Any,
    *,
    n_neighbors: int = 5,
    manifold: Any = None,
    features: Callable[[Any], Any] | None = None,
) -> Neighbors:
    """Return the real rows nearest to each generated row, and how far they are.

    A generated row at a distance of 0 is a copy. Distances are Euclidean, in the data
    or in a space in which they mean more: the latents of `manifold`, or whatever
    `features` makes of rows.

    Parameters
    ----------
    X_generated : array-like of shape (n_generated, n_features) or images
    X_real : array-like of shape (n_real, n_features) or images
    n_neighbors : int, default=5
        At most the real rows.
    manifold : manifold or Pipeline, fitted, default=None
        With `transform`, whose latents are compared; a last step of a Pipeline that
        only generates is left out.
    features : callable, default=None
        Takes rows as they are handed in, returns an array (n, n_columns) to compare.

    Returns
    -------
    neighbors : Neighbors
        `indices` into `X_real` and `distances`, of shape (n_generated, n_neighbors);
        the nearest first, of equally near ones the lower index. They are exact, and a
        row's do not depend on the others. Memory is that of a block of pairs beside
        the rows.

    Raises
    ------
    TypeError
        If `manifold` has no `transform`, or `features` is not callable.
    ValueError
        If both are given, rows differ in width, a value is not finite, `features`
        returns another number of rows, or `n_neighbors` is out of bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import nearest_real
    >>> found = nearest_real([[1.5], [9.0]], [[0.0], [1.0], [5.0]], n_neighbors=2)
    >>> found.indices
    array([[1, 0],
           [2, 1]])
    >>> found.distances
    array([[0.5, 1.5],
           [4. , 8. ]])
    >>> nearest_real([[-4.0]], [[0.0], [4.5]], n_neighbors=1, features=np.abs).indices
    array([[1]])
    """
    to_compare = _comparison(manifold, features)
    real = _columns_of("X_real", X_real, to_compare)
    generated = _columns_of("X_generated", X_generated, to_compare)
    if generated.shape[1] != real.shape[1]:
        raise ValueError(
            f"X_generated must have the {real.shape[1]} columns of X_real, got "
            f"{generated.shape[1]}."
        )
    hint = f"X_real has {len(real)} rows."
    n_neighbors = check_int("n_neighbors", n_neighbors, high=len(real), hint=hint)
    return NeighborIndex.build(real).query(generated, n_neighbors)


def _comparison(
    manifold: Any, features: Callable[[Any], Any] | None
) -> Callable[[Any], Any] | None:
    """Return what makes of rows what is compared; None leaves them as they are."""
    if manifold is not None and features is not None:
        raise ValueError("features must be None where manifold is given, got both.")
    if manifold is not None:
        part = without_generator(manifold)
        if not hasattr(part, "transform"):
            raise TypeError(
                f"manifold must have transform, which {type(part).__name__} has not."
            )
        return part.transform
    return features


def _columns_of(
    name: str, X: Any, to_compare: Callable[[Any], Any] | None
) -> NDArray[Any]:
    """Return finite rows of numbers to compare, of shape (n, n_columns)."""
    if to_compare is not None:
        return feature_rows(name, X, to_compare)
    dtypes = [np.float64, np.float32, np.uint8]  # as they are, in as little memory
    return check_array(flatten_images(X)[0], dtype=dtypes, input_name=name)
