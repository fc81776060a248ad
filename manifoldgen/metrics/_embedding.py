"""How well coordinates keep distances, their order, labels, and the way back."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._validation import check_choice, check_int
from ..neighbors import nearest_neighbors
from ._rows import as_rows, labels_of

_BLOCK = 2**21  # float64 numbers in one block: 16 MB
_Rows = NDArray[np.float64]


class ShepardPairs(NamedTuple):
    """Distances of pairs of rows in the data and in the map, by name.

    Parameters
    ----------
    distances_X : ndarray of shape (n_pairs,), float64
        In the units of the data.
    distances_Z : ndarray of shape (n_pairs,), float64
        Of the same pairs, in the units of the coordinates.
    """

    distances_X: NDArray[np.float64]
    distances_Z: NDArray[np.float64]


def shepard_pairs(
    X: Any, Z: Any, *, n_pairs: int = 10_000, random_state: Any = 0
) -> ShepardPairs:
    """Return the distances of pairs of rows in the data and in the map.

    Drawn against each other they are the Shepard diagram: a rising line where the map
    keeps distances, a rising cloud where it keeps their order.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data; images of any shape are flattened.
    Z : array-like of shape (n_samples, n_components)
        Their coordinates.
    n_pairs : int, default=10_000
        Pairs to draw at random, each on its own; all pairs where they are not more.
    random_state : int, RandomState or None, default=0
        What decides which pairs are drawn.

    Returns
    -------
    pairs : ShepardPairs
        Named tuple with `distances_X` and `distances_Z`: Euclidean, float64, of shape
        (n_pairs,) or of as many as there are.

    Raises
    ------
    ValueError
        If X and Z have fewer than 2 rows or not as many as each other, a value is not
        finite, or `n_pairs` < 1.

    References
    ----------
    .. [1] R. N. Shepard, "The analysis of proximities: multidimensional scaling with
       an unknown distance function", Psychometrika 27, 1962.

    Examples
    --------
    >>> from manifoldgen import shepard_pairs
    >>> pairs = shepard_pairs([[0.0], [1.0], [3.0]], [[0.0], [2.0], [0.5]])
    >>> pairs.distances_X, pairs.distances_Z
    (array([1., 3., 2.]), array([2. , 0.5, 1.5]))
    """
    A, B = paired_rows(X, Z, n_min=2)
    n_pairs = check_int("n_pairs", n_pairs)
    n = len(A)
    if n * (n - 1) // 2 <= n_pairs:
        i, j = np.triu_indices(n, 1)
    else:
        i, j = _distinct_rows(n, 2, n_pairs, random_state)
    return ShepardPairs(np.sqrt(_squared(A, i, j)), np.sqrt(_squared(B, i, j)))


def shepard_correlation(
    X: Any,
    Z: Any,
    *,
    n_pairs: int = 100_000,
    method: str = "spearman",
    random_state: Any = 0,
) -> float:
    """Return the correlation of distances in the data and in the map.

    It is ruled by the far pairs, which are most, and so tells how well the map keeps
    the whole, where `trustworthiness` tells of what is near.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data; images of any shape are flattened.
    Z : array-like of shape (n_samples, n_components)
        Their coordinates.
    n_pairs : int, default=100_000
        Pairs to draw at random; all pairs where they are not more. The standard error
        of the result is ``1 / sqrt(n_pairs)`` or so.
    method : {"spearman", "pearson"}, default="spearman"
        Whether the order of the distances counts or the distances themselves.
    random_state : int, RandomState or None, default=0
        What decides which pairs are drawn.

    Returns
    -------
    correlation : float
        In [-1, 1]; 0 where all distances in X or in Z are equal.

    Raises
    ------
    ValueError
        If X and Z have fewer than 2 rows or not as many as each other, a value is not
        finite, `n_pairs` < 1 or `method` is unknown.

    See Also
    --------
    shepard_pairs : The distances themselves.

    Examples
    --------
    >>> from manifoldgen import shepard_correlation
    >>> X = [[0.0], [1.0], [3.0]]
    >>> shepard_correlation(X, [[0.0], [2.0], [9.0]])
    1.0
    >>> round(shepard_correlation(X, [[0.0], [2.0], [9.0]], method="pearson"), 3)
    0.971
    """
    check_choice("method", method, ("spearman", "pearson"))
    pairs = shepard_pairs(X, Z, n_pairs=n_pairs, random_state=random_state)
    if method == "spearman":
        from scipy.stats import rankdata

        pairs = ShepardPairs(*map(rankdata, pairs))
    if any(np.ptp(values) == 0.0 for values in pairs):
        return 0.0
    a, b = (values / values.max() for values in pairs)
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def triplet_accuracy(
    X: Any, Z: Any, *, n_triplets: int = 100_000, random_state: Any = 0
) -> float:
    """Return how often the map agrees on which of two rows is nearer to a third.

    Random triplets are mostly of rows far from each other, so this tells how well the
    map keeps the whole.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data; images of any shape are flattened.
    Z : array-like of shape (n_samples, n_components)
        Their coordinates.
    n_triplets : int, default=100_000
        Triplets to draw at random, each on its own; all where they are not more. The
        standard error of the result is at most ``0.5 / sqrt(n_triplets)``.
    random_state : int, RandomState or None, default=0
        What decides which triplets are drawn.

    Returns
    -------
    accuracy : float
        In [0, 1]; a random map gets 0.5. A triplet whose two distances are equal in X
        or in Z but not in both counts half.

    Raises
    ------
    ValueError
        If X and Z have fewer than 3 rows or not as many as each other, a value is not
        finite, or `n_triplets` < 1.

    References
    ----------
    .. [1] Y. Wang, H. Huang, C. Rudin, Y. Shaposhnik, "Understanding How Dimension
       Reduction Tools Work: An Empirical Approach to Deciphering t-SNE, UMAP, TriMap,
       and PaCMAP for Data Visualization", JMLR 22, 2021, arXiv:2012.04456.
       We draw over all rows and not some triplets for each.

    Examples
    --------
    Of three rows each is asked once; the map turns round what is nearer to the first.

    >>> from manifoldgen import triplet_accuracy
    >>> round(triplet_accuracy([[0.0], [1.0], [3.0]], [[0.0], [2.5], [2.0]]), 3)
    0.333
    """
    A, B = paired_rows(X, Z, n_min=3)
    n_triplets = check_int("n_triplets", n_triplets)
    n = len(A)
    if n * (n - 1) * (n - 2) // 2 <= n_triplets:
        i, j, k = np.indices((n, n, n)).reshape(3, -1)
        chosen = (j < k) & (i != j) & (i != k)
        i, j, k = i[chosen], j[chosen], k[chosen]
    else:
        i, j, k = _distinct_rows(n, 3, n_triplets, random_state)
    sides = [np.sign(_squared(rows, i, j) - _squared(rows, i, k)) for rows in (A, B)]
    return float(1.0 - np.abs(sides[0] - sides[1]).mean() / 2)


def neighbor_label_accuracy(
    Z: Any,
    y: Any,
    *,
    Z_test: Any = None,
    y_test: Any = None,
    n_neighbors: int = 15,
) -> float:
    """Return how often the labels of the nearest rows in the map name a row's own.

    The most frequent label of the nearest rows wins, of equally frequent ones the
    lowest, as in scikit-learn's KNeighborsClassifier.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        Coordinates of the rows that vote.
    y : array-like of shape (n_samples,)
        Their labels.
    Z_test : array-like of shape (n_test, n_components), default=None
        Coordinates of other rows, to be named. None names each row of Z by the others.
    y_test : array-like of shape (n_test,), default=None
        The labels of those.
    n_neighbors : int, default=15
        Rows that vote.

    Returns
    -------
    accuracy : float
        Share of rows whose label is named, in [0, 1].

    Raises
    ------
    ValueError
        If lengths or columns do not match, labels are not discrete, a value is not
        finite, `n_neighbors` is out of bounds, or only one of `Z_test` and `y_test` is
        given.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from manifoldgen import neighbor_label_accuracy
    >>> X, y = load_iris(return_X_y=True)
    >>> neighbor_label_accuracy(PCA(2).fit_transform(X), y)
    0.96
    """
    if (Z_test is None) != (y_test is None):
        raise ValueError(
            "Z_test and y_test must be given together or not at all, got one of them."
        )
    B = as_rows("Z", Z, n_min=2 if Z_test is None else 1)
    labels = labels_of("y", y, "Z", len(B))
    k = check_int(
        "n_neighbors",
        n_neighbors,
        high=len(B) - (Z_test is None),
        hint=f"Z has {len(B)} rows.",
    )
    if Z_test is None:
        asked, truth = None, labels
    else:
        asked = as_rows("Z_test", Z_test)
        truth = labels_of("y_test", y_test, "Z_test", len(asked))
        if asked.shape[1] != B.shape[1]:
            raise ValueError(
                f"Z and Z_test must have as many columns as each other, got "
                f"{B.shape[1]} and {asked.shape[1]}."
            )
    near = nearest_neighbors(B, k, queries=asked, method="exact").indices
    classes, codes = np.unique(labels, return_inverse=True)
    return float(np.mean(classes[_vote(codes[near], len(classes))] == truth))


def _vote(codes: NDArray[np.intp], n_classes: int) -> NDArray[np.intp]:
    """Return the most frequent code of each row, of equals the lowest."""
    winners = np.empty(len(codes), dtype=np.intp)
    step = max(1, _BLOCK // n_classes)
    for start in range(0, len(codes), step):
        block = codes[start : start + step]
        cells = block + n_classes * np.arange(len(block))[:, np.newaxis]
        votes = np.bincount(cells.ravel(), minlength=n_classes * len(block))
        winners[start : start + step] = votes.reshape(-1, n_classes).argmax(axis=1)
    return winners


def round_trip_error(A: Any, A_back: Any) -> float:
    """Return how far rows come back from where they were, in units of their spread.

    The root of the mean squared difference over the root of the mean squared distance
    from the mean, both over all columns. It serves data that went to the map and back,
    and coordinates that went to the data and back.

    Parameters
    ----------
    A : array-like of shape (n_samples, n_features)
        Rows as they were; images of any shape are flattened.
    A_back : array-like of shape (n_samples, n_features)
        As they came back.

    Returns
    -------
    error : float
        Dimensionless: 0 for a perfect return, 1 for rows that all come back as the
        mean, more for worse. ``1 - error**2`` is the share of variance explained.

    Raises
    ------
    ValueError
        If the shapes do not match, a value is not finite, or all rows of `A` are equal
        and come back changed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from manifoldgen import round_trip_error
    >>> X, _ = load_iris(return_X_y=True)
    >>> pca = PCA(2).fit(X)
    >>> error = round_trip_error(X, pca.inverse_transform(pca.transform(X)))
    >>> lost = 1 - float(pca.explained_variance_ratio_.sum())
    >>> round(error, 3), round(error**2, 3), round(lost, 3)
    (0.149, 0.022, 0.022)
    """
    before, after = as_rows("A", A), as_rows("A_back", A_back)
    if before.shape != after.shape:
        raise ValueError(
            f"A and A_back must have the same shape, got {before.shape} and "
            f"{after.shape}."
        )
    error, spread = (
        float(np.linalg.norm(gap))
        for gap in (after - before, before - before.mean(axis=0))
    )
    if error == 0.0:
        return 0.0
    if np.ptp(before, axis=0).max() == 0.0:
        raise ValueError(
            "A must have rows that differ, because errors are measured by their "
            "spread, got equal rows, which came back changed."
        )
    return error / spread


def paired_rows(X: Any, Z: Any, n_min: int) -> tuple[_Rows, _Rows]:
    """Return data and coordinates as float64 rows, as many of the one as the other."""
    A, B = as_rows("X", X, n_min), as_rows("Z", Z, n_min)
    if len(A) != len(B):
        raise ValueError(
            f"X and Z must have as many rows as each other, got {len(A)} and {len(B)}."
        )
    return A, B


def _distinct_rows(
    n: int, per_draw: int, n_draws: int, random_state: Any
) -> list[NDArray[np.int64]]:
    """Draw `n_draws` ordered pairs, or triplets, of different rows out of n."""
    from .._random import random_state_of  # loads torch

    rng = random_state_of(random_state)
    drawn: list[NDArray[np.int64]] = []
    for taken in range(per_draw):
        row = rng.randint(n - taken, size=n_draws)
        # past those taken before, in rising order, each left row is as likely
        for other in np.sort(np.array(drawn).reshape(taken, n_draws), axis=0):
            row += row >= other
        drawn.append(row)
    return drawn


def _squared(A: _Rows, i: NDArray[Any], j: NDArray[Any]) -> _Rows:
    """Return the squared distances of the pairs (i, j), by differences."""
    squared = np.empty(len(i))
    step = max(1, _BLOCK // A.shape[1])
    for start in range(0, len(i), step):
        pairs = slice(start, start + step)
        squared[pairs] = np.square(A[i[pairs]] - A[j[pairs]]).sum(axis=1)
    return squared
