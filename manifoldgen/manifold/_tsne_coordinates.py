"""Coordinates by t-SNE: openTSNE computes, on our graph of neighbours."""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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

_START = 1e-4  # standard deviation of the widest column that t-SNE starts from
_MOST_COMPONENTS = 3


def tsne_coordinates(
    X: NDArray[Any],
    n_components: int = 2,
    *,
    perplexity: float = 30.0,
    early_exaggeration: float | str = "auto",
    early_exaggeration_iter: int = 250,
    exaggeration: float | None = None,
    learning_rate: float | str = "auto",
    n_iter: int = 500,
    initialization: Any = "pca",
    metric: str = "euclidean",
    method: str = "auto",
    labels: Any = None,
    target_weight: float = 0.5,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> Coordinates:
    """Return the coordinates that t-SNE gives to rows, and which rows are isolated.

    Rows pull their neighbours near and push all others away, until the Kullback-Leibler
    divergence between Gaussian affinities of the rows and Student's of the map is
    small. openTSNE computes it [1]_, by Barnes-Hut trees below 10,000 rows or in 3
    dimensions and by interpolation and FFT else [2]_. Copies of a row count once.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        Finite. For the Euclidean and similar metrics X is centred and divided by one
        number first, so its offset and unit do not matter.
    n_components : int, default=2
        1, 2 or 3.
    perplexity : float, default=30.0
        How many neighbours count, >= 1; the graph has three times as many. It is
        lowered, with a warning, to a third of the other distinct rows.
    early_exaggeration : float or "auto", default="auto"
        Factor of the pulls in the first iterations; "auto" is 12, or `exaggeration`
        where that is more.
    early_exaggeration_iter : int, default=250
        How many iterations those are.
    exaggeration : float or None, default=None
        Factor of the pulls afterwards; None is 1. Larger values make tighter groups.
    learning_rate : float or "auto", default="auto"
        "auto" is the number of distinct rows divided by the exaggeration in force.
    n_iter : int, default=500
        Iterations after the early ones.
    initialization : {"pca", "spectral", "random"} or array-like, default="pca"
        Where rows start. "spectral" is "pca" where the graph falls into parts. An
        array of shape (n_samples, n_components) is scaled to the small size that
        t-SNE starts from.
    metric, method : str
        As in `manifoldgen.neighbors.nearest_neighbors`.
    labels : array-like of int of shape (n_samples,) or None, default=None
        Classes, -1 where unknown: affinities between classes are scaled down, as
        umap-learn does with its own. None uses none.
    target_weight : float, default=0.5
        From 0, where labels hardly count, to 1, where rows of different classes do
        not pull each other at all.
    random_state : None, int or RandomState, default=None
        Seed of the start and of the approximate neighbours.
    n_jobs : int or None, default=None
        Threads; None is as many as torch uses. The result is the same bit for bit
        from run to run; openTSNE 1.0.4 also gave the same for 1 and for 2 threads,
        by either method, while the linear algebra of the start may differ in its last
        bits.

    Returns
    -------
    coordinates : ndarray of shape (n_samples, n_components), float32
        Finite; equal for copies of a row. All 0 where all rows are equal, and steps
        on a line where 2 or 3 are distinct, with a warning.
    isolated : ndarray of shape (n_samples,), bool
        Rows outside the largest connected part of the graph.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of bounds: `n_components` above 3 among them.
    RuntimeError
        If openTSNE returns coordinates that are not finite.

    References
    ----------
    .. [1] P. Poličar, M. Stražar, B. Zupan, "openTSNE: A modular Python library for
       t-SNE dimensionality reduction and embedding", Journal of Statistical Software
       109(3), 2024.
    .. [2] G. Linderman et al., "Fast interpolation-based t-SNE for improved
       visualization of single-cell RNA-seq data", Nature Methods 16, 2019,
       arXiv:1712.09005.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> found = tsne_coordinates(load_iris().data, n_iter=50, random_state=0)
    >>> found.coordinates.shape, int(found.isolated.sum())
    ((150, 2), 0)
    """
    hint = "Use UMAPManifold or NeighborManifold for more dimensions."
    check_int("n_components", n_components, high=_MOST_COMPONENTS, hint=hint)
    check_real("perplexity", perplexity, low=1)
    check_real("target_weight", target_weight, 0, 1)
    if isinstance(initialization, str):
        check_choice("initialization", initialization, ("pca", "spectral", "random"))
    descent = _checked_descent(
        early_exaggeration=early_exaggeration,
        early_exaggeration_iter=early_exaggeration_iter,
        exaggeration=exaggeration,
        learning_rate=learning_rate,
        n_iter=n_iter,
    )
    n_jobs = check_int("n_jobs", torch.get_num_threads() if n_jobs is None else n_jobs)
    rng = random_state_of(random_state)
    data = distinct_rows(X, metric)
    classes = None if labels is None else distinct_labels(labels, data)
    few = place_few(data, n_components)
    if few is not None:
        return few

    n_rows = len(data.rows)
    most = (n_rows - 1) / 3
    perplexity = lower_to_fit(
        "perplexity", perplexity, most, n_rows, "a third of the others"
    )
    graph = nearest_neighbors(
        data.rows,
        min(n_rows - 1, int(3 * perplexity + 1e-6)),
        metric=metric,
        method=method,
        random_state=draw_seed(rng),
    )
    isolated = outside_largest_part(graph.indices, "perplexity")

    if isinstance(initialization, str) and initialization == "spectral":
        # the eigenvectors of a graph in parts only tell the parts apart
        whole = not isolated.any() and n_rows > n_components + 1
        initialization = "spectral" if whole else "pca"

    from openTSNE import TSNE

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        affinities = _affinities(graph, perplexity, classes, target_weight, n_jobs)
        start = _start(initialization, data, affinities.P, n_components, rng)
        # interpolation has no third dimension
        method = "auto" if n_components < 3 else "bh"
        tsne = TSNE(
            n_components, negative_gradient_method=method, n_jobs=n_jobs, **descent
        )
        map_ = tsne.fit(affinities=affinities, initialization=start)
    return for_all_rows(map_, isolated, data, "openTSNE")


def _checked_descent(**settings: Any) -> dict[str, Any]:
    """Return the settings of the descent, after checks of their bounds."""
    for name in ("early_exaggeration", "learning_rate"):
        if not isinstance(settings[name], str) or settings[name] != "auto":
            hint = 'Or leave it "auto".'
            check_real(name, settings[name], 0, closed="right", hint=hint)
    if settings["exaggeration"] is not None:
        check_real("exaggeration", settings["exaggeration"], 0, closed="right")
    for name in ("early_exaggeration_iter", "n_iter"):
        check_int(name, settings[name], low=0)
    return settings


def _affinities(
    graph: Neighbors,
    perplexity: float,
    labels: NDArray[np.int64] | None,
    target_weight: float,
    n_jobs: int,
) -> Any:
    """Return openTSNE's affinities, those between classes scaled down."""
    from openTSNE.affinity import PerplexityBasedNN, PrecomputedAffinities
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    gaussian = PerplexityBasedNN(
        knn_index=PrecomputedNeighbors(graph.indices, reachable(graph.distances)),
        perplexity=perplexity,
        symmetrize=labels is None,
        n_jobs=n_jobs,
    )
    if labels is None:
        return gaussian
    conditional = by_classes(gaussian.P.tocsr(), labels, target_weight)
    return PrecomputedAffinities((conditional + conditional.T).tocsr())


def by_classes(P: Any, labels: NDArray[np.int64], target_weight: float) -> Any:
    """Return affinities scaled down between classes, those of a row adding up to 1.

    A pair of different classes is multiplied by ``exp(-2.5 / (1 - target_weight))``
    and one with an unknown label by ``exp(-1)``, the weights of umap-learn. A row
    that has only neighbours of other classes at a weight of 1 keeps them.

    Parameters
    ----------
    P : scipy.sparse.csr_matrix of shape (n, n)
        Affinities >= 0 that are positive in each row.
    labels : ndarray of shape (n,), int64
        -1 where unknown.
    target_weight : float
        In [0, 1].
    """
    P = P.copy()
    row = np.repeat(np.arange(P.shape[0]), np.diff(P.indptr))
    here, there = labels[row], labels[P.indices]
    far = np.exp(-2.5 / (1.0 - target_weight)) if target_weight < 1 else 0.0
    weights = np.where(here == there, 1.0, far)
    weights[(here == -1) | (there == -1)] = np.exp(-1.0)
    weighted = P.data * weights
    sums = np.bincount(row, weighted, minlength=P.shape[0])
    alone = sums[row] == 0
    weighted[alone] = P.data[alone]
    P.data = weighted / np.bincount(row, weighted, minlength=P.shape[0])[row]
    return P


def _start(
    initialization: Any,
    data: DistinctRows,
    P: Any,
    n_components: int,
    rng: np.random.RandomState,
) -> NDArray[np.float64]:
    """Return where the distinct rows start: small, so that they can still pass by."""
    if not isinstance(initialization, str):
        start = given_start("initialization", initialization, data, n_components)
    elif initialization == "pca":
        start = principal_start(data.rows, n_components, rng)
    elif initialization == "random":
        start = rng.normal(size=(len(data.rows), n_components))
    else:
        from openTSNE.initialization import spectral

        start = spectral(P, n_components, random_state=rng)
    size = start.std(axis=0).max() or 1.0
    return np.ascontiguousarray(start * (_START / size))
