"""The graph that a map of neighbours is trained on."""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from ..neighbors import nearest_neighbors
from ._graph import (
    DistinctRows,
    distinct_labels,
    distinct_rows,
    lower_to_fit,
    outside_largest_part,
)


def umap_kernel(min_dist: float, spread: float) -> tuple[float, float]:
    """Return a and b of the kernel ``1 / (1 + a d^(2 b))`` that UMAP fits.

    It is the least-squares fit, for distances d of 0 to 3 spreads, to 1 up to
    `min_dist` and ``exp(-(d - min_dist) / spread)`` beyond [1]_.

    References
    ----------
    .. [1] L. McInnes et al., "UMAP: Uniform manifold approximation and projection",
       2018, arXiv:1802.03426, Definition 11.

    Examples
    --------
    >>> tuple(round(value, 3) for value in umap_kernel(0.1, 1.0))
    (1.577, 0.895)
    """
    flat = min_dist / spread  # in units of the spread, whose size the fit may not bear
    d = np.linspace(0.0, 3.0, 300)
    target = np.where(d < flat, 1.0, np.exp(-(d - flat)))
    (a, b), _ = curve_fit(lambda d, a, b: 1.0 / (1.0 + a * d ** (2 * b)), d, target)
    return float(a / spread ** (2.0 * b)), float(b)


def training_graph(
    rows: NDArray[np.number],
    labels: NDArray[np.int64] | None,
    n_neighbors: int,
    metric: str,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the neighbours of each row, and which rows are isolated.

    Copies of a row are no neighbours of each other. With labels, the neighbours of a
    labelled row are the nearest rows of its class, and those of its own neighbours
    whose class is unknown.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    labels : ndarray of shape (n_rows,), int64, or None
        -1 where unknown.
    n_neighbors : int
        Lowered with a warning where there are too few distinct rows.
    metric : str
    seed : int

    Returns
    -------
    neighbors : ndarray of shape (n_rows, width), int64
        `width` is `n_neighbors`, or twice that with labels; some may repeat.
    isolated : ndarray of shape (n_rows,), bool
        Rows outside the largest connected part of the graph, before labels.
    """
    data = distinct_rows(rows, metric)
    n_distinct = len(data.rows)
    if n_distinct == 1:
        warnings.warn(
            "All rows of X are equal: they have one place on the map.",
            UserWarning,
            stacklevel=4,
        )
        return np.zeros((len(rows), 1), dtype=np.int64), np.zeros(len(rows), bool)
    k = lower_to_fit(
        "n_neighbors", n_neighbors, n_distinct - 1, n_distinct, "the number of others"
    )
    graph = nearest_neighbors(data.rows, k, metric=metric, random_state=seed).indices
    isolated = outside_largest_part(graph, "n_neighbors")
    if labels is not None:
        graph = _by_class(data, graph, distinct_labels(labels, data), metric, seed)
    return data.first[graph][data.inverse], isolated[data.inverse]


def _by_class(
    data: DistinctRows,
    graph: NDArray[np.int64],
    labels: NDArray[np.int64],
    metric: str,
    seed: int,
) -> NDArray[np.int64]:
    """Return a graph whose edges join no two different known classes."""
    differ = labels[graph] != labels[:, np.newaxis]
    differ &= (labels[graph] >= 0) & (labels[:, np.newaxis] >= 0)
    own = np.where(differ, -1, graph)
    mates = np.full_like(graph, -1)
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        width = min(graph.shape[1], len(members) - 1)
        if width:
            found = nearest_neighbors(
                data.rows[members], width, metric=metric, random_state=seed
            )
            mates[members, :width] = members[found.indices]
    both = np.concatenate([own, mates], axis=1)
    # a row whose neighbours all have other classes, and that is alone in its own, is
    # its own neighbour: nothing pulls it
    some = both.max(axis=1)
    some[some < 0] = np.flatnonzero(some < 0)
    return np.where(both < 0, some[:, np.newaxis], both)
