"""Distances other than the Euclidean one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_chunked
from sklearn.metrics.pairwise import PAIRWISE_BOOLEAN_FUNCTIONS
from sklearn.neighbors import VALID_METRICS

from ._distances import Neighbors, nearest_pairs

# the scale of these comes from all rows of a call, so an answer hung on the batch
_REFUSED = {"precomputed", "mahalanobis", "seuclidean", "minkowski"}
METRICS = sorted(set(VALID_METRICS["brute"]) - _REFUSED)


def check_metric(metric: Any) -> str:
    """Return the name of a distance that can be searched exactly, else raise."""
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(
            f"metric must be one of {', '.join(map(repr, METRICS))}, got {metric!r}. "
            "For a Mahalanobis distance whiten the rows first."
        )
    return "euclidean" if metric == "l2" else metric


def on_sphere(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return rows of length 1 whose squared distances are twice the cosine ones.

    One column more is 1 for rows of zeros: it sets them at right angles to all others.
    """
    unit = np.zeros((len(rows), rows.shape[1] + 1))
    unit[:, :-1] = rows
    # by the largest value first: squares of tiny or huge ones are 0 or infinite
    size = np.abs(unit).max(axis=1, keepdims=True)
    unit[:, -1:] = size == 0
    unit /= np.where(size == 0, 1.0, size)
    unit /= np.sqrt(np.square(unit).sum(axis=1, keepdims=True))
    return unit


def pairwise_neighbors(
    queries: NDArray[Any] | None, X: NDArray[Any], k: int, metric: Any
) -> Neighbors:
    """Return the k rows of X nearest to each query, or to each other row of X."""
    if metric in PAIRWISE_BOOLEAN_FUNCTIONS:
        X = X.astype(bool)
        queries = None if queries is None else queries.astype(bool)
    asked = X if queries is None else queries
    parts = []
    start = 0
    for block in pairwise_distances_chunked(asked, X, metric=metric, working_memory=64):
        distances = np.asarray(block, dtype=np.float64)
        i, j = np.nonzero(np.isnan(distances))  # 0 / 0, as for rows of zeros
        equal = (asked[start + i] == X[j]).all(axis=1)
        distances[i, j] = np.where(equal, 0.0, np.inf)
        if queries is None:
            at = np.arange(len(distances))
            distances[at, start + at] = np.inf
        rough = np.partition(distances, k - 1, axis=1)[:, [k - 1]]
        i, j = np.nonzero(distances <= rough)
        parts.append(nearest_pairs(i, j, distances[i, j], k))
        start += len(distances)
    indices, nearest = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Neighbors(indices, nearest)
