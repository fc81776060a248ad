"""Coordinates by UMAP: umap-learn computes, on our graph of neighbours."""

import locale
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from .._random import draw_seed, random_state_of
from .._validation import check_choice, check_int, check_real
from ..neighbors import Neighbors, nearest_neighbors
from ._graph import (
    Coordinates,
    DistinctRows,
    distinct_labels,
    distinct_rows,
    for_all_rows,
    given_start,
    lower_to_fit,
    outside_largest_part,
    place_few,
    principal_start,
    reachable,
)

# numba's threads are the process's: where it has no OpenMP or TBB, two callers at once
# would end it.
_UMAP = threading.RLock()
_REACH = 10.0  # of the coordinates that UMAP starts from


def umap_coordinates(
    X: NDArray[Any],
    n_components: int = 2,
    *,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    spread: float = 1.0,
    metric: str = "euclidean",
    method: str = "auto",
    n_epochs: int | None = None,
    init: Any = "spectral",
    learning_rate: float = 1.0,
    negative_sample_rate: int = 5,
    labels: Any = None,
    target_weight: float = 0.5,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> Coordinates:
    """Return the coordinates that UMAP gives to rows, and which rows are isolated.

    Each row is joined to its neighbours with a strength that falls from 1 at the
    nearest, and gradient descent on single edges, with rows drawn at random pushed
    away, brings the strengths of the map near to these. umap-learn computes it [1]_,
    as `umap.UMAP` does with the same graph. Copies of a row count once.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        Finite. For the Euclidean and similar metrics X is centred and divided by one
        number first, so its offset and unit do not matter.
    n_components : int, default=2
    n_neighbors : int, default=15
        Neighbours of a row, itself counted, >= 2. It is lowered, with a warning, to
        the number of other distinct rows.
    min_dist : float, default=0.1
        How near rows may be on the map, between 0 and `spread`.
    spread : float, default=1.0
        The scale of the map.
    metric, method : str
        As in `manifoldgen.neighbors.nearest_neighbors`.
    n_epochs : int or None, default=None
        Passes over the edges; None is 500 up to 10,000 distinct rows, else 200.
    init : {"spectral", "pca", "random"} or array-like, default="spectral"
        Where rows start. "spectral" is "pca" where the graph falls into parts, or has
        too few rows for eigenvectors. An array has shape (n_samples, n_components);
        its columns are scaled to the range that UMAP starts from.
    learning_rate : float, default=1.0
        Of the first epoch; it falls to 0.
    negative_sample_rate : int, default=5
        Rows pushed away for each edge.
    labels : array-like of int of shape (n_samples,) or None, default=None
        Classes, -1 where unknown: strengths between classes are scaled down. None
        uses none.
    target_weight : float, default=0.5
        From 0, where labels hardly count, to 1, where rows of different classes are
        not joined at all.
    random_state : None, int or RandomState, default=None
        With a seed one thread works and the result is the same bit for bit from run
        to run. None uses `n_jobs` threads, which race, and so a new result each time.
    n_jobs : int or None, default=None
        Threads where there is no seed; None is as many as torch uses.

    Returns
    -------
    coordinates : ndarray of shape (n_samples, n_components), float32
        Finite; equal for copies of a row. All 0 where all rows are equal, and steps
        on a line where 2 or 3 are distinct, with a warning.
    isolated : ndarray of shape (n_samples,), bool
        Rows outside the largest connected part of the graph. Among them are those
        that have no neighbour at all (as far from each as their metric goes, such as
        opposite by the cosine): they are at the median of the neighbours that have a
        place, else at the origin. `umap.UMAP` returns NaN for those.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of bounds.
    RuntimeError
        If umap-learn returns coordinates that are not finite.

    References
    ----------
    .. [1] L. McInnes, J. Healy, J. Melville, "UMAP: Uniform Manifold Approximation and
       Projection for Dimension Reduction", 2018, arXiv:1802.03426.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:300]
    >>> found = umap_coordinates(X, n_epochs=50, random_state=0)
    >>> found.coordinates.shape, int(found.isolated.sum())
    ((300, 2), 0)
    """
    check_int("n_components", n_components)
    check_int("n_neighbors", n_neighbors, low=2)
    check_real("spread", spread, 0, closed="right")
    check_real("min_dist", min_dist, 0, spread, hint="Its upper end is spread.")
    check_real("learning_rate", learning_rate, 0, closed="right")
    check_int("negative_sample_rate", negative_sample_rate)
    check_real("target_weight", target_weight, 0, 1)
    if isinstance(init, str):
        check_choice("init", init, ("spectral", "pca", "random"))
    n_jobs = check_int("n_jobs", torch.get_num_threads() if n_jobs is None else n_jobs)
    seeded = random_state is not None
    rng = random_state_of(random_state)
    data = distinct_rows(X, metric)
    classes = None if labels is None else distinct_labels(labels, data)
    few = place_few(data, n_components)
    if few is not None:
        return few

    n_rows = len(data.rows)
    n_epochs = _epochs(n_epochs, n_rows)
    n_neighbors = lower_to_fit(
        "n_neighbors", n_neighbors, n_rows - 1, n_rows, "the number of the others"
    )
    graph = nearest_neighbors(
        data.rows,
        n_neighbors - 1,
        metric=metric,
        method=method,
        random_state=draw_seed(rng),
    )
    with _quiet_umap(1 if seeded else n_jobs) as umap_:
        limit = umap_.DISCONNECTION_DISTANCES.get(metric, np.inf)
        kept = np.where(graph.distances >= limit, -1, graph.indices)
        strengths = _strengths(umap_, kept, graph, classes, target_weight)
        start = _start(init, data, strengths, n_components, n_epochs, rng)
        a, b = umap_.find_ab_params(spread, min_dist)
        map_ = _optimized(
            umap_,
            data.rows,
            strengths,
            n_components=n_components,
            initial_alpha=learning_rate,
            a=a,
            b=b,
            negative_sample_rate=negative_sample_rate,
            n_epochs=n_epochs,
            init=start,
            random_state=rng,
            parallel=not seeded,
        )
    alone = np.asarray(strengths.sum(axis=1)).ravel() == 0
    isolated = alone | outside_largest_part(kept, "n_neighbors")
    return for_all_rows(
        _beside_neighbors(map_, alone, graph.indices), isolated, data, "umap-learn"
    )


def _epochs(n_epochs: Any, n_rows: int) -> int:
    if n_epochs is None:
        return 500 if n_rows <= 10_000 else 200
    return check_int("n_epochs", n_epochs)


@contextmanager
def _quiet_umap(n_jobs: int) -> Iterator[Any]:
    """Yield umap-learn's functions, at `n_jobs` threads, without their warnings.

    What umap-learn and numba leave changed in the process is put back: the locale, by
    the import, and torch's number of threads, by numba's first use of OpenMP.
    """
    with _UMAP, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numeric = locale.setlocale(locale.LC_NUMERIC)
        torch_threads = torch.get_num_threads()
        try:
            import numba
            from umap import umap_
        finally:
            locale.setlocale(locale.LC_NUMERIC, numeric)
        threads = numba.get_num_threads()
        numba.set_num_threads(min(n_jobs, threads))
        try:
            yield umap_
        finally:
            numba.set_num_threads(threads)
            torch.set_num_threads(torch_threads)


def _strengths(
    umap_: Any,
    kept: NDArray[np.int64],
    graph: Neighbors,
    labels: NDArray[np.int64] | None,
    target_weight: float,
) -> Any:
    """Return the sparse matrix of how strongly rows are joined; -1 joins none."""
    n_rows = len(kept)
    # umap-learn's neighbours begin with the row itself
    indices = np.column_stack([np.arange(n_rows), kept])
    distances = np.column_stack([np.zeros(n_rows), reachable(graph.distances)])
    strengths = umap_.fuzzy_simplicial_set(
        indices,  # of which it reads how many rows there are
        indices.shape[1],
        None,
        "euclidean",
        knn_indices=indices,
        knn_dists=distances.astype(np.float32),
    )[0]
    if labels is None:
        return strengths
    far = 2.5 / (1.0 - target_weight) if target_weight < 1 else 1e12
    return umap_.discrete_metric_simplicial_set_intersection(
        strengths, labels, far_dist=far
    )


def _start(
    init: Any,
    data: DistinctRows,
    strengths: Any,
    n_components: int,
    n_epochs: int,
    rng: np.random.RandomState,
) -> Any:
    """Return where the distinct rows start, or a name that umap-learn knows."""
    if not isinstance(init, str):
        start = given_start("init", init, data, n_components)
        return start.astype(np.float32)
    if init == "random" or (
        init == "spectral" and _spectral_works(strengths, n_components, n_epochs)
    ):
        return init
    return (_REACH * principal_start(data.rows, n_components, rng)).astype(np.float32)


def _spectral_works(strengths: Any, n_components: int, n_epochs: int) -> bool:
    """Return whether there are rows enough and the edges that will be used join them.

    For parts umap-learn embeds their centres by ``exp(-distance**2)``, which is 0
    between all of them where the unit of X is small.
    """
    if strengths.shape[0] < 2 * n_components + 3:
        return False
    used = strengths.tocsr().copy()
    # the edges that umap-learn leaves out, as they would be drawn less than once
    used.data[used.data < used.data.max(initial=0) / max(n_epochs, 11)] = 0
    used.eliminate_zeros()
    return bool(connected_components(used, directed=False)[0] == 1)


def _optimized(
    umap_: Any, rows: NDArray[np.float32], strengths: Any, **settings: Any
) -> NDArray[np.float32]:
    """Return umap-learn's coordinates, all 0 where no two rows are joined."""
    if strengths.nnz == 0:
        return np.zeros((len(rows), settings["n_components"]), dtype=np.float32)
    coordinates, _ = umap_.simplicial_set_embedding(
        rows,
        strengths,
        gamma=1.0,
        metric="euclidean",
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
        **settings,
    )
    return coordinates


def _beside_neighbors(
    coordinates: NDArray[np.float32],
    alone: NDArray[np.bool_],
    neighbors: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return coordinates whose rows that nothing is joined to are by neighbours."""
    placed = coordinates.copy()
    for row in np.flatnonzero(alone):
        beside = neighbors[row][~alone[neighbors[row]]]
        placed[row] = np.median(coordinates[beside], axis=0) if len(beside) else 0.0
    return placed
