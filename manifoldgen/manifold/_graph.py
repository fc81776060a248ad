"""What all neighbour embeddings share: rows, parts of a graph, data that degenerate."""

import warnings
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from .._arrays import standardize
from .._random import draw_seed
from ..neighbors import symmetric_components

_SHIFTED_METRICS = {"euclidean", "l2", "manhattan", "l1", "cityblock", "chebyshev"}
_FEW = 3  # rows, up to which no graph of neighbours says anything


class Coordinates(NamedTuple):
    """Coordinates of rows, and which rows have no reliable place among the others."""

    coordinates: NDArray[np.float32]
    isolated: NDArray[np.bool_]


class DistinctRows(NamedTuple):
    """The rows that differ, scaled, and where each row of the data is among them.

    Parameters
    ----------
    rows : ndarray of shape (n_distinct, n_features), float32
        In the order in which they first appear.
    first : ndarray of shape (n_distinct,), int64
        Where each one appears first.
    inverse : ndarray of shape (n_samples,), int64
        Row i of the data is ``rows[inverse[i]]``.
    """

    rows: NDArray[np.float32]
    first: NDArray[np.int64]
    inverse: NDArray[np.int64]


def common_scale(
    X: NDArray[Any], metric: str = "euclidean"
) -> tuple[NDArray[np.float64], float]:
    """Return what `X` is shifted and divided by before it is rounded to float32.

    One factor for all columns keeps the order of the distances, so that X and 1000 X
    have one graph, while offsets and units no longer cost digits.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    metric : str, default="euclidean"
        One that a shift would change leaves `X` as it is.

    Returns
    -------
    mean : ndarray of shape (n_features,), float64
        Of a constant column exactly its value.
    scale : float
        The farthest that a value is from its column's mean; 1 where that is 0.

    Examples
    --------
    >>> import numpy as np
    >>> common_scale(np.array([[1.0, 7.0], [5.0, 7.0]]))
    (array([3., 7.]), 2.0)
    """
    if metric not in _SHIFTED_METRICS:
        return np.zeros(X.shape[1]), 1.0
    low, high = X.min(axis=0).astype(float), X.max(axis=0).astype(float)
    mean = np.where(low == high, low, X.mean(axis=0, dtype=np.float64))
    reach = float(np.maximum(high - mean, mean - low).max())
    return mean, reach or 1.0


def unique_rows(X: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each distinct row appears first, and which of them each row is.

    Rows are equal where they are in float32; 0 and -0 are. They are told apart by 128
    bits of BLAKE2b of their bytes: one pass, with no sorting of long rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)

    Returns
    -------
    first : ndarray of shape (n_distinct,), int64
        Ascending.
    inverse : ndarray of shape (n_samples,), int64
        ``X[first][inverse]`` is `X` in float32.

    Examples
    --------
    >>> import numpy as np
    >>> unique_rows(np.array([[2.0], [1.0], [2.0]]))
    (array([0, 1]), array([0, 1, 0]))
    """
    seen: dict[bytes, int] = {}
    first: list[int] = []
    inverse = np.empty(len(X), dtype=np.int64)
    for i, row in enumerate(X):
        values = np.asarray(row, dtype=np.float32) + np.float32(0)
        place = seen.setdefault(
            blake2b(values.tobytes(), digest_size=16).digest(), len(first)
        )
        if place == len(first):
            first.append(i)
        inverse[i] = place
    return np.array(first, dtype=np.int64), inverse


def distinct_rows(X: NDArray[Any], metric: str = "euclidean") -> DistinctRows:
    """Return the rows of `X` that differ once they are scaled to float32.

    Copies of a row would fill its neighbourhood with themselves, and would be drawn
    apart although a map has one place for them.
    """
    rows = standardize(X, *common_scale(X, metric))
    first, inverse = unique_rows(rows)
    return DistinctRows(rows if len(first) == len(X) else rows[first], first, inverse)


def distinct_labels(labels: Any, data: DistinctRows) -> NDArray[np.int64]:
    """Return one label a distinct row: -1, unknown, where its copies disagree.

    Raises
    ------
    ValueError
        If `labels` are not one int for each row of the data.
    """
    values = np.asarray(labels)
    if values.shape != data.inverse.shape or values.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be ints, one for each of the {len(data.inverse)} rows of X "
            f"and -1 where unknown, got dtype {values.dtype}, shape {values.shape}."
        )
    kept = values[data.first].astype(np.int64)
    kept[data.inverse[values != kept[data.inverse]]] = -1
    return kept


def lower_to_fit(name: str, value: Any, most: Any, n_rows: int, rule: str) -> Any:
    """Return the smaller of `value` and `most`; warn where it is not `value`."""
    if value <= most:
        return value
    warnings.warn(
        f"{name}={value:g} is too large for the {n_rows} distinct rows of X: it can "
        f"be at most {rule}, so {most:g} is used.",
        UserWarning,
        stacklevel=5,
    )
    return most


def outside_largest_part(indices: NDArray[np.int64], name: str) -> NDArray[np.bool_]:
    """Return which rows are outside the largest connected part; warn where some are.

    Parameters
    ----------
    indices : ndarray of shape (n_rows, n_neighbors), int64
        Neighbours of each row; a negative one is none.
    name : str
        The parameter that a larger value of would join the parts.
    """
    itself = np.arange(len(indices))[:, np.newaxis]
    parts = symmetric_components(np.where(indices < 0, itself, indices))
    outside = parts != 0
    if outside.any():
        warnings.warn(
            f"The graph of neighbours falls into {parts.max() + 1} parts: how far they "
            "are from each other on the map means nothing. The distinct rows outside "
            f"the largest part, {outside.sum()} of {len(parts)}, are marked as "
            f"isolated. Raise {name} to join the parts.",
            UserWarning,
            stacklevel=5,
        )
    return outside


def reachable(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances of which the infinite ones are twice the largest finite one.

    Where a metric is not defined, as a correlation with a constant row, the search
    answers infinity, and a bandwidth cannot be found for that.
    """
    finite = np.isfinite(distances)
    largest = distances[finite].max(initial=0.0)
    return np.where(finite, distances, 2.0 * largest or 1.0)


def principal_start(
    rows: NDArray[np.float32], n_components: int, rng: np.random.RandomState
) -> NDArray[np.float64]:
    """Return coordinates on the principal axes, at most 1 in size, with a little noise.

    The noise, of standard deviation 1e-5, parts what coincides there and fills the
    columns for which the rows have no axis.
    """
    start = rng.normal(0.0, 1e-5, size=(len(rows), n_components))
    n_axes = min(n_components, *rows.shape)
    pca = PCA(n_axes, random_state=draw_seed(rng))
    projected = pca.fit_transform(rows.astype(np.float64))
    start[:, :n_axes] += projected / np.abs(projected).max()
    return start


def given_start(
    name: str, start: Any, data: DistinctRows, n_components: int
) -> NDArray[np.float64]:
    """Return the coordinates of the distinct rows that a user wants to start from.

    Raises
    ------
    ValueError
        If they are not numbers of shape (n_samples, n_components), all finite.
    """
    values = np.asarray(start, dtype=np.float64)
    shape = (len(data.inverse), n_components)
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(
            f"{name} must be one of the names it takes or finite numbers of shape "
            f"{shape}, got shape {values.shape}."
        )
    return values[data.first]


def place_few(data: DistinctRows, n_components: int) -> Coordinates | None:
    """Return coordinates of rows too few for a map, or None where they are not.

    One row that all are copies of is at 0. Two or three are at steps of 1 on the first
    axis, in the order that they have on their own first principal axis.
    """
    n_rows = len(data.rows)
    if n_rows > _FEW:
        return None
    if n_rows == 1:
        problem = "All rows of X are equal: their coordinates are 0."
    else:
        problem = f"X has {n_rows} distinct rows, too few for a map: they are put at "
        problem += "equal steps on a line."
    warnings.warn(problem, UserWarning, stacklevel=5)
    placed = np.zeros((n_rows, n_components))
    centred = data.rows - data.rows.mean(axis=0, dtype=np.float64)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    placed[np.argsort(centred @ axis, kind="stable"), 0] = np.arange(n_rows)
    return for_all_rows(placed - placed.mean(axis=0), np.zeros(n_rows, bool), data, "")


def for_all_rows(
    coordinates: NDArray[Any],
    isolated: NDArray[np.bool_],
    data: DistinctRows,
    library: str,
) -> Coordinates:
    """Return what was found for the distinct rows for every row of the data.

    Raises
    ------
    RuntimeError
        If a coordinate is not finite.
    """
    with np.errstate(over="ignore"):
        found = np.asarray(coordinates).astype(np.float32)
    if not np.isfinite(found).all():
        raise RuntimeError(
            f"{library} returned coordinates that are not finite. Lower the learning "
            "rate, or look for values of X that are very far from the others."
        )
    return Coordinates(found[data.inverse], isolated[data.inverse])
