"""Nearest neighbours by pynndescent."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._distances import Neighbors, nearest_pairs, squared_differences, without_itself
from ._metrics import METRICS, on_sphere, pairwise_neighbors

_EPSILON = 0.3  # how far beyond the k-th to look: with the default, 0.1, 6% are missed
_Found = tuple[NDArray[np.int64], NDArray[np.float64]]


def check_approximate_metric(metric: Any) -> None:
    """Raise where pynndescent does not know a distance by that name."""
    known = sorted(_named_distances())
    if not isinstance(metric, str) or metric not in known:
        raise ValueError(
            f"metric must be one of {', '.join(map(repr, known))} for approximate "
            f"neighbours, got {metric!r}. Exact ones know "
            f"{', '.join(map(repr, METRICS))}."
        )


def approximate_neighbors(
    X: NDArray[Any],
    k: int,
    queries: NDArray[Any] | None,
    metric: str,
    random_state: Any,
) -> Neighbors:
    """Return k rows of X for each query, nearly all of them of the nearest."""
    # not above, for it brings torch
    from .._random import draw_seed, random_state_of

    X, asked = _for_differences(X, metric), None
    if queries is not None:
        asked = _for_differences(queries, metric)
    seed = draw_seed(random_state_of(random_state))
    indices, distances = _descend(X, k, asked, metric, seed)
    if asked is None:
        asked = X
    lost = np.flatnonzero((indices < 0).any(axis=1))
    i = np.repeat(np.arange(len(asked)), k)
    if metric in ("euclidean", "l2", "cosine"):
        # it squared them in float32
        squared = squared_differences(asked, i, X, indices.ravel())
        distances = squared / 2 if metric == "cosine" else np.sqrt(squared)
    indices, distances = nearest_pairs(i, indices.ravel(), distances.ravel(), k)
    if len(lost):
        indices[lost], distances[lost] = _all_pairs(X, k, asked, lost, metric, queries)
    return Neighbors(indices, distances)


def _named_distances() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pynndescent.distances import named_distances
    return named_distances


def _for_differences(rows: NDArray[Any], metric: str) -> NDArray[Any]:
    return on_sphere(rows) if metric == "cosine" else rows


def _descend(
    X: NDArray[Any], k: int, asked: NDArray[Any] | None, metric: str, seed: int
) -> _Found:
    """Return what pynndescent finds, with -1 where it finds too few rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pynndescent import NNDescent

        shift, scale = 0.0, 1.0
        if metric in ("euclidean", "l2"):  # float32 keeps the digits of centred rows
            shift = X.mean(axis=0, dtype=np.float64)
            scale = max(float(np.abs(X - shift).max()), np.finfo(np.float64).tiny)
        rows = ((X - shift) / scale).astype(np.float32)
        # of rows of length 1 it ranks as the cosine does
        name = "euclidean" if metric in ("cosine", "l2") else metric
        n_neighbors = k + (asked is None)
        search = NNDescent(rows, name, n_neighbors=n_neighbors, random_state=seed)
        if asked is not None:
            wanted = ((asked - shift) / scale).astype(np.float32)
            indices, distances = search.query(wanted, k, epsilon=_EPSILON)
        else:
            indices, distances = search.neighbor_graph
    indices, distances = indices.astype(np.int64), distances.astype(np.float64)
    return (
        (indices, distances)
        if asked is not None
        else without_itself(indices, distances)
    )


def _all_pairs(
    X: NDArray[Any],
    k: int,
    asked: NDArray[Any],
    lost: NDArray[np.intp],
    metric: str,
    queries: NDArray[Any] | None,
) -> _Found:
    """Return the exact neighbours of the queries that were not given k of them."""
    name = "sqeuclidean" if metric == "cosine" else metric
    known: Any = name if name in METRICS else _named_distances()[name]
    if queries is not None:
        return pairwise_neighbors(asked[lost], X, k, known)
    found = pairwise_neighbors(asked[lost], X, k + 1, known)
    other = found.indices != lost[:, np.newaxis]
    other[other.all(axis=1), -1] = False
    distances = found.distances[other].reshape(-1, k)
    scale = 0.5 if metric == "cosine" else 1.0
    return found.indices[other].reshape(-1, k), distances * scale
