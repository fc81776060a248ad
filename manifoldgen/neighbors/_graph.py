"""The nearest neighbours of all rows, exact or approximate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .._validation import check_choice, check_int
from ._approximate import approximate_neighbors, check_approximate_metric
from ._distances import Neighbors
from ._index import NeighborIndex, check_columns, check_rows
from ._metrics import check_metric

_METHODS = ("auto", "exact", "approximate")
_EXACT_PRODUCTS = 3e12  # about half a minute on two cores, where both take as long


def nearest_neighbors(
    X: Any,
    n_neighbors: int,
    *,
    queries: Any = None,
    metric: str = "euclidean",
    method: str = "auto",
    device: str = "cpu",
    random_state: int | np.random.RandomState | None = None,
) -> Neighbors:
    """Return the nearest rows of X to each other row of X, or to each of `queries`.

    A row is left out of its own neighbours by its index, so its duplicates are
    neighbours at a distance of 0. To ask the same rows again, keep a `NeighborIndex`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, or images of any shape, which are flattened.
    n_neighbors : int
        Less than the rows of X, or at most as many with `queries`.
    queries : array-like of shape (n_queries, n_features), default=None
        Rows to find the neighbours of; None takes those of X.
    metric : str, default="euclidean"
        "euclidean"; "cosine", 1 minus the cosine, where a row of zeros is at 1 from all
        others; or the name of another distance, of scikit-learn for exact neighbours
        and of pynndescent for approximate ones.
    method : {"auto", "exact", "approximate"}, default="auto"
        "exact" compares all pairs, in blocks; "approximate" is pynndescent, which
        misses about 1% but grows more slowly with the rows; "auto" is "exact" up to
        200,000 rows of 50 columns among themselves, 60,000 of 784, or on another device
        than the CPU.
    device : str, default="cpu"
        A torch device to rank pairs on; for exact "euclidean" and "cosine".
    random_state : int, RandomState or None, default=None
        Seeds the approximate search; exact neighbours need none.

    Returns
    -------
    neighbors : Neighbors
        `indices` and `distances` of shape (n_queries, n_neighbors); the nearest first,
        of equally near ones the lower index. Exact memory is that of a block of
        pairs beside copies of the rows.

    Raises
    ------
    ValueError
        If `n_neighbors` is out of bounds, the columns do not match, a value is not
        finite or beyond 1e150, or a metric, method or seed is not known.

    References
    ----------
    .. [1] W. Dong, C. Moses, K. Li, "Efficient k-nearest neighbor graph construction
       for generic similarity measures", WWW 2011: the approximate search.

    Examples
    --------
    >>> from manifoldgen import nearest_neighbors
    >>> found = nearest_neighbors([[0.0], [1.0], [1.0], [4.0]], n_neighbors=2)
    >>> found.indices
    array([[1, 2],
           [2, 0],
           [1, 0],
           [1, 2]])
    >>> found.distances
    array([[1., 1.],
           [0., 1.],
           [0., 1.],
           [3., 3.]])
    """
    check_choice("method", method, _METHODS)
    rows = check_rows(X, "X")
    asked = rows
    if queries is not None:
        asked = check_rows(queries, "queries")
        check_columns("queries", asked, rows.shape[1])
    k = _check_n_neighbors(n_neighbors, len(rows), queries is None)
    if method == "auto":
        # a pair costs as much beside its products as 16 of them do
        few = len(rows) * len(asked) * (rows.shape[1] + 16) <= _EXACT_PRODUCTS
        method = "exact" if few or device != "cpu" else "approximate"
    if method == "approximate":
        check_approximate_metric(metric)
        others = None if queries is None else asked
        return approximate_neighbors(rows, k, others, metric, random_state)
    check_metric(metric)
    index = NeighborIndex.build(rows, metric=metric)
    if queries is None:
        return index.query_itself(k, device=device)
    return index.query(asked, k, device=device)


def symmetric_components(indices: Any) -> NDArray[np.int64]:
    """Return which rows are connected by neighbours, in either direction.

    Parameters
    ----------
    indices : array-like of shape (n_samples, n_neighbors)
        Neighbours of each row, as in `Neighbors`.

    Returns
    -------
    labels : ndarray of shape (n_samples,), int64
        The component of each row: 0 is the largest, then by size; of equally large
        ones the one that has the lowest row comes first.

    Examples
    --------
    >>> from manifoldgen.neighbors import symmetric_components
    >>> symmetric_components([[1], [0], [3], [4], [2]])
    array([1, 1, 0, 0, 0])
    """
    indices = np.asarray(indices)
    n, k = indices.shape
    edges = np.repeat(np.arange(n), k), indices.ravel()
    graph = coo_array((np.ones(n * k, dtype=np.int8), edges), shape=(n, n))
    _, labels = connected_components(graph.tocsr(), directed=False)
    _, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[labels]


def _check_n_neighbors(n_neighbors: Any, n_samples: int, among_others: bool) -> int:
    hint = f"X has {n_samples} rows"
    hint += ", and a row is not its own neighbour." if among_others else "."
    high = n_samples - among_others
    return check_int("n_neighbors", n_neighbors, high=high, hint=hint)
