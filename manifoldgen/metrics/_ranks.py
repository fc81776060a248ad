"""How well coordinates keep who is near whom; exact ranks, in blocks of rows.

Distances are Euclidean, and of two rows equally far the one with the lower index is
the nearer one, in the data and in the map alike.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import map_on_threads
from .._validation import check_int
from ..neighbors import NeighborIndex, nearest_neighbors
from ..neighbors._distances import distance_blocks, recompute, squared_differences
from ._embedding import paired_rows

_ROWS = 1024  # whose ranks are counted at a time
_BLOCK = 2**21  # ranks in one block
_Rows = NDArray[np.float64]
_Order = NDArray[np.int64]


class CorankingCurve(NamedTuple):
    """Agreement of neighbourhoods of every size, by name.

    Parameters
    ----------
    n_neighbors : ndarray of shape (n_sizes,), int64
        The sizes K: 1, 2, 3 and so on.
    q_nx : ndarray of shape (n_sizes,), float64
        Mean share of the K nearest rows that data and map have in common, in [0, 1].
    r_nx : ndarray of shape (n_sizes,), float64
        The same with a random map at 0 and a perfect one at 1.
    auc : float
        Mean of `r_nx` with weights 1/K, so that each scale counts as much as another.
    """

    n_neighbors: NDArray[np.int64]
    q_nx: NDArray[np.float64]
    r_nx: NDArray[np.float64]
    auc: float


def trustworthiness(X: Any, Z: Any, *, n_neighbors: int = 15) -> float:
    """Return how far neighbours in the map are neighbours in the data, too.

    Each of the `n_neighbors` nearest rows in Z that is not among the nearest in X is
    an intruder, and costs by how far down the order of X it comes: with r its rank in
    X, 1 the nearest, ``1 - 2 / (n k (2n - 3k - 1)) * sum(r - k)``.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data; images of any shape are flattened.
    Z : array-like of shape (n_samples, n_components)
        Their coordinates.
    n_neighbors : int, default=15
        Less than half of the rows. Figures of different sizes, of the neighbourhood or
        of the sample, are not comparable.

    Returns
    -------
    score : float
        In [0, 1]; 1 where no row has an intruder, near 0.5 for a random map. Memory is
        a few blocks of 32 MB for each thread beside copies of the rows; time grows
        with the square of the rows.

    Raises
    ------
    ValueError
        If `n_neighbors` is out of bounds, X and Z do not have as many rows as each
        other, or a value is not finite.

    References
    ----------
    .. [1] J. Venna, S. Kaski, "Local multidimensional scaling", Neural Networks 19,
       2006.

    Notes
    -----
    Equal to `sklearn.manifold.trustworthiness`, which needs the whole matrix of
    distances, but where distances are tied: there that one depends on the order in
    which a sort or a tree leaves equals. Ties that do not change the sum of the ranks,
    such as those of rows that have a twin in the data and in the map, agree.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from manifoldgen import trustworthiness
    >>> X, _ = load_digits(return_X_y=True)
    >>> [round(trustworthiness(X, PCA(d).fit_transform(X)), 2) for d in (2, 8)]
    [0.83, 0.99]
    """
    A, B = paired_rows(X, Z, n_min=3)
    return _share_without_intruders(A, B, n_neighbors)


def continuity(X: Any, Z: Any, *, n_neighbors: int = 15) -> float:
    """Return how far neighbours in the data are still neighbours in the map.

    `trustworthiness` with X and Z exchanged: it falls where the map tears neighbours
    apart, and not where it lays far rows on each other.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data; images of any shape are flattened.
    Z : array-like of shape (n_samples, n_components)
        Their coordinates.
    n_neighbors : int, default=15
        Less than half of the rows.

    Returns
    -------
    score : float
        In [0, 1]; 1 where no neighbour is lost, near 0.5 for a random map.

    Raises
    ------
    ValueError
        As `trustworthiness` does.

    References
    ----------
    .. [1] J. Venna, S. Kaski, "Local multidimensional scaling", Neural Networks 19,
       2006.

    Examples
    --------
    A square laid flat on its side keeps neighbours together and lets strangers in.

    >>> import numpy as np
    >>> from manifoldgen import continuity, trustworthiness
    >>> X = np.random.default_rng(0).random((500, 2))
    >>> round(continuity(X, X[:, :1]), 2), round(trustworthiness(X, X[:, :1]), 2)
    (0.94, 0.74)
    """
    A, B = paired_rows(X, Z, n_min=3)
    return _share_without_intruders(B, A, n_neighbors)


def neighbor_recall(X: Any, Z: Any, *, n_neighbors: int = 15) -> float:
    """Return the mean share of the nearest rows in X that are nearest in Z, too.

    That is ``Q_NX(K)`` of the co-ranking matrix [1]_. Unlike `trustworthiness` it asks
    for the very neighbours: one that is missed by a little is missed.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data; images of any shape are flattened.
    Z : array-like of shape (n_samples, n_components)
        Their coordinates.
    n_neighbors : int, default=15
        Less than the rows.

    Returns
    -------
    recall : float
        In [0, 1]; a random map gets ``n_neighbors / (n_samples - 1)``.

    Raises
    ------
    ValueError
        If `n_neighbors` is out of bounds, X and Z do not have as many rows as each
        other, or a value is not finite.

    See Also
    --------
    coranking_curve : The same for every number of neighbours.

    References
    ----------
    .. [1] J. A. Lee, M. Verleysen, "Quality assessment of dimensionality reduction:
       Rank-based criteria", Neurocomputing 72, 2009.

    Examples
    --------
    >>> from manifoldgen import neighbor_recall
    >>> X = [[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [3.5, 9.0]]
    >>> neighbor_recall(X, [row[:1] for row in X], n_neighbors=1)
    0.75
    """
    A, B = paired_rows(X, Z, n_min=2)
    k = _check_neighbors("n_neighbors", n_neighbors, len(A), len(A) - 1)
    first = np.arange(len(A))[:, np.newaxis] * len(A)
    pairs_A, pairs_B = (
        (first + nearest_neighbors(rows, k, method="exact").indices).ravel()
        for rows in (A, B)
    )
    shared = np.intersect1d(pairs_A, pairs_B, assume_unique=True)
    return len(shared) / len(pairs_A)


def coranking_curve(
    X: Any, Z: Any, *, max_neighbors: int | None = None
) -> CorankingCurve:
    """Return the agreement of neighbourhoods in X and Z for every size of them.

    ``Q_NX(K)`` is the mean share of the K nearest rows that X and Z have in common, and
    ``R_NX(K) = ((n - 1) Q_NX(K) - K) / (n - 1 - K)`` is that with chance taken off.
    The mean of ``R_NX`` with weights 1/K sums up all scales in one number [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data; images of any shape are flattened.
    Z : array-like of shape (n_samples, n_components)
        Their coordinates.
    max_neighbors : int, default=None
        The largest K. None is all, ``n_samples - 2``, for which the distances from
        every row are sorted: seconds for 5,000 rows, many minutes for 70,000.

    Returns
    -------
    curve : CorankingCurve
        Named tuple with `n_neighbors`, `q_nx`, `r_nx` and `auc`. The `auc` of one
        `max_neighbors` is not comparable with that of another.

    Raises
    ------
    ValueError
        If `max_neighbors` is out of bounds, X and Z have fewer than 3 rows or not as
        many as each other, or a value is not finite.

    References
    ----------
    .. [1] J. A. Lee, D. H. Peluffo-Ordóñez, M. Verleysen, "Multi-scale similarities in
       stochastic neighbour embedding: Reducing dimensionality while preserving both
       local and global structure", Neurocomputing 169, 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from manifoldgen import coranking_curve
    >>> X, _ = load_iris(return_X_y=True)
    >>> curve = coranking_curve(X, PCA(2).fit_transform(X))
    >>> curve.q_nx.shape, round(curve.auc, 2)
    ((148,), 0.69)
    """
    A, B = paired_rows(X, Z, n_min=3)
    n = len(A)
    if max_neighbors is None:
        most, orders = n - 2, _full_orders(A, B)
    else:
        most = _check_neighbors("max_neighbors", max_neighbors, n, n - 2)
        orders = _nearest_orders(A, B, most)
    larger = np.zeros(most, dtype=np.int64)
    for pair in orders:
        larger += _count_larger_ranks(*pair, n, most)
    k = np.arange(1, most + 1)
    q_nx = larger.cumsum() / (k * n)
    r_nx = ((n - 1) * q_nx - k) / (n - 1 - k)
    return CorankingCurve(k, q_nx, r_nx, float(np.average(r_nx, weights=1 / k)))


def _check_neighbors(name: str, value: Any, n: int, high: int) -> int:
    return check_int(name, value, high=high, hint=f"X has {n} rows.")


def _share_without_intruders(A: _Rows, B: _Rows, n_neighbors: Any) -> float:
    """Return 1 minus what neighbours in B cost by their ranks in A."""
    n = len(A)
    k = check_int(
        "n_neighbors",
        n_neighbors,
        high=(n - 1) // 2,
        hint=f"It must be less than half of the {n} rows of X.",
    )
    near = nearest_neighbors(B, k, method="exact").indices
    cost = int(np.maximum(_ranks_of(A, near) - k, 0).sum())
    return 1.0 - cost * (2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0)))


def _ranks_of(A: _Rows, columns: _Order) -> NDArray[np.int64]:
    """Return the ranks, from 1, that the named rows have by distance from each row.

    Counting those that are closer takes less than sorting them all.
    """

    def count(start: int) -> NDArray[np.int64]:
        part = slice(start, start + _ROWS)
        return _ranks_in_part(A, part, columns[part])

    starts = range(0, len(A), _ROWS)
    return np.concatenate([*map_on_threads(count, starts, A.shape[1])])


def _ranks_in_part(A: _Rows, part: slice, columns: _Order) -> NDArray[np.int64]:
    ranks = np.empty_like(columns)
    for rows, squared, error in distance_blocks(A[part], A):
        named = columns[rows]
        itself = part.start + rows.start + np.arange(len(named))
        squared[np.arange(len(named)), itself] = np.inf
        pairs = np.repeat(itself, named.shape[1]), named.ravel()
        exact = squared_differences(A, pairs[0], A, pairs[1]).reshape(named.shape)
        margin = error.max(axis=1)
        for at, row in enumerate(squared):
            ranks[rows.start + at] = _ranks_in_row(
                row, margin[at], named[at], exact[at], A, itself[at]
            )
    return ranks


def _ranks_in_row(
    row: _Rows,
    margin: float,
    columns: _Order,
    exact: _Rows,
    A: _Rows,
    itself: int,
) -> NDArray[np.int64]:
    """Return the ranks of columns whose squared distances are `exact`, not as in `row`.

    Where others are as far to within the error, differences decide.
    """
    closer = np.array([np.count_nonzero(row < limit - margin) for limit in exact])
    reached = np.array([np.count_nonzero(row <= limit + margin) for limit in exact])
    if (reached == closer + 1).all():
        return reached
    close = np.zeros(len(row), dtype=bool)
    for limit in exact:
        close |= np.abs(row - limit) <= margin
    (j,) = np.nonzero(close)
    row[j] = squared_differences(A, np.full_like(j, itself), A, j)
    pairs = zip(columns, exact, strict=True)
    nearer = [
        np.count_nonzero(row < limit) + np.count_nonzero(row[:column] == limit)
        for column, limit in pairs
    ]
    return 1 + np.array(nearer)


def _count_larger_ranks(
    order_A: _Order, order_B: _Order, n: int, most: int
) -> NDArray[np.int64]:
    """Return how many pairs have 1, 2, ... `most` as the larger of their two ranks."""
    m, listed = order_B.shape
    ranks = np.arange(1, listed + 1, dtype=np.int32)
    ranks_B = np.full((m, n), n, dtype=np.int32)
    np.put_along_axis(ranks_B, order_B, np.broadcast_to(ranks, (m, listed)), axis=1)
    larger = np.maximum(ranks, np.take_along_axis(ranks_B, order_A, axis=1))
    return np.bincount(larger.ravel(), minlength=n + 1)[1 : most + 1]


def _full_orders(A: _Rows, B: _Rows) -> Iterator[tuple[_Order, _Order]]:
    """Yield the order of all other rows from rows of A and of B, in blocks."""
    step = max(1, _BLOCK // len(A))
    whole_A, whole_B = (bool((rows == np.rint(rows)).all()) for rows in (A, B))

    def orders(start: int) -> tuple[_Order, _Order]:
        part = slice(start, start + step)
        return _full_order(A, part, whole_A), _full_order(B, part, whole_B)

    starts = range(0, len(A), step)
    return map_on_threads(orders, starts, max(A.shape[1], B.shape[1]))


def _full_order(A: _Rows, part: slice, whole: bool) -> _Order:
    """Return the order of all other rows; `whole` says that all numbers are whole."""
    found = []
    for rows, squared, error in distance_blocks(A[part], A):
        at = np.arange(len(squared))
        squared[at, part.start + rows.start + at] = np.inf
        if whole and error.max() < 0.5:
            # then squares are whole, too: tied ones, of which pixels have many, equal
            np.rint(squared, out=squared)
            order = np.argsort(squared, axis=1, kind="stable")
        else:
            order = np.argsort(squared, axis=1)
            _sort_ties(order, squared, error, A, A[part][rows])
        found.append(order[:, :-1])  # the row itself is the last
    return np.concatenate(found)


def _sort_ties(
    order: _Order, squared: _Rows, error: _Rows, A: _Rows, queries: _Rows
) -> None:
    """Put right the order of those that are equally far to within the error."""
    gaps = np.diff(np.take_along_axis(squared, order, axis=1), axis=1)
    tied = np.zeros(squared.shape, dtype=bool)
    tied[:, 1:] = gaps <= 2 * error.max(axis=1, keepdims=True)
    tied[:, :-1] |= tied[:, 1:]
    (again,) = np.nonzero(tied.any(axis=1))
    if len(again):
        close = np.zeros_like(tied)
        np.put_along_axis(close, order, tied, axis=1)
        recompute(squared, close, queries, A)
        order[again] = np.argsort(squared[again], axis=1, kind="stable")


def _nearest_orders(A: _Rows, B: _Rows, k: int) -> Iterator[tuple[_Order, _Order]]:
    """Yield the k nearest rows to rows of A and of B, in blocks."""
    in_A, in_B = NeighborIndex.build(A), NeighborIndex.build(B)
    step = max(1, _BLOCK // len(A))
    for start in range(0, len(A), step):
        part = slice(start, start + step)
        yield (
            _without_itself(in_A.query(A[part], k + 1).indices, start),
            _without_itself(in_B.query(B[part], k + 1).indices, start),
        )


def _without_itself(indices: _Order, start: int) -> _Order:
    """Return lists of k + 1 neighbours less the row that each is of."""
    m, k = indices.shape
    other = indices != start + np.arange(m)[:, np.newaxis]
    # a row with more than k twins may not be in its own list
    other[other.all(axis=1), -1] = False
    return indices[other].reshape(m, k - 1)
