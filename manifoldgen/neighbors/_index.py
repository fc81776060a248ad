"""Rows prepared for looking up the nearest of them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._arrays import flatten_images
from .._threads import map_on_threads
from .._validation import check_int
from ._distances import (
    Neighbors,
    nearest_in_float64,
    nearest_pairs,
    squared_differences,
    without_itself,
)
from ._metrics import check_metric, on_sphere, pairwise_neighbors
from ._products import (
    Pairs,
    at_least,
    bound_from_below,
    kth_largest,
    leading_axes,
    product_error,
    project,
)

_QUERIES = 256  # in one block
_ROWS = 2048  # in one product
_PAIRS = 2**20  # kept of one block before it is searched in float64
_SAMPLE = 16  # one row in so many gives the first bound
_AXES_FROM = 1024  # rows at most that the leading axes come from
_GROWTH = 4  # of the rows seen before the bound is made tighter
_FAR = 2.0**20  # times the largest row: the differences themselves err as much there
_LARGEST = 1e150  # squares of larger numbers overflow
_Indices = tuple[NDArray[np.intp], NDArray[np.intp]]
_Found = tuple[NDArray[np.int64], NDArray[np.float64]]


class _Block(NamedTuple):
    queries: NDArray[np.float64]
    left: NDArray[np.float32]  # factors of the products
    error: NDArray[np.float64]  # of these
    squares: NDArray[np.float64]  # of the distance from the centre


class NeighborIndex:
    """Rows among which the nearest to new rows are looked up, exactly.

    Matrix products in float32 rank the rows, a bound of their rounding error says
    which of them may be among the nearest, and the differences of those, in float64,
    decide. Of wide rows the products take the leading axes alone, and the length of
    what is left, which bounds the whole product. So a row's answer does not depend on
    the batch it comes in, to the last bit, and a row that was given to `build` is found
    at a distance of exactly 0.

    Parameters
    ----------
    rows : ndarray of shape (n_unique, n_features), float64, float32 or uint8
        The distinct rows in the order of their first occurrence.
    members : ndarray of shape (n_samples,), int64
        Indices of the rows that equal the first one, the second one and so on.
    starts : ndarray of shape (n_unique + 1,), int64
        Where in `members` those of each distinct row start.
    metric : str, default="euclidean"
        Name of the distance.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import NeighborIndex
    >>> index = NeighborIndex.build([[0.0], [1.0], [1.0], [4.0]])
    >>> index.query([[1.0], [3.0]], n_neighbors=3)
    Neighbors(indices=array([[1, 2, 0],
           [3, 1, 2]]), distances=array([[0., 0., 1.],
           [1., 2., 2.]]))
    """

    def __init__(
        self,
        rows: NDArray[Any],
        members: NDArray[np.int64],
        starts: NDArray[np.int64],
        metric: str = "euclidean",
    ) -> None:
        self._rows, self._members, self._starts = rows, members, starts
        self.metric = metric
        if metric in ("euclidean", "cosine"):
            self._prepare_products()

    @classmethod
    def build(cls, X: Any, *, metric: str = "euclidean") -> Self:
        """Return an index of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or images of any shape, which are flattened. float32 and uint8 are
            kept as they are, all else becomes float64.
        metric : str, default="euclidean"
            "euclidean"; "cosine", where a row of zeros is at 1 from all others and at 0
            from its like; or the name of another distance of scikit-learn, which is
            computed between all pairs, slowly.

        Returns
        -------
        index : NeighborIndex
            It holds copies of the rows, in their own dtype and in float32.

        Raises
        ------
        ValueError
            If a value is not finite or beyond 1e150, or the metric is not known.
        """
        check_metric(metric)
        metric = "euclidean" if metric == "l2" else metric
        rows = check_rows(X, "X")
        if metric == "cosine":
            rows = on_sphere(rows)
        first, members, starts = _group_equal_rows(rows)
        return cls(rows[first], members, starts, metric)

    @property
    def n_samples(self) -> int:
        """Number of rows, duplicates counted."""
        return len(self._members)

    @property
    def n_features(self) -> int:
        """Number of columns of a query."""
        return int(self._rows.shape[1]) - (self.metric == "cosine")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the index is made of, by the names of its parameters."""
        return {"rows": self._rows, "members": self._members, "starts": self._starts}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], *, metric: str = "euclidean"
    ) -> Self:
        """Return the index that `arrays` came from; `metric` is the one it had.

        Raises
        ------
        ValueError
            If they are not such as `arrays` returns, or the metric is not known.
        """
        _check_arrays(**arrays)
        return cls(**arrays, metric=check_metric(metric))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.arrays(), "metric": self.metric}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def query(self, rows: Any, n_neighbors: int, *, device: str = "cpu") -> Neighbors:
        """Return the nearest rows of the index to each of `rows`.

        Parameters
        ----------
        rows : array-like of shape (n_queries, n_features)
            New rows, or rows of the index, which are their own nearest neighbours.
        n_neighbors : int
            At most the rows of the index.
        device : str, default="cpu"
            A torch device to rank pairs on; for "euclidean" and "cosine".

        Returns
        -------
        neighbors : Neighbors
            The nearest first; of equally near ones the lower index.

        Raises
        ------
        ValueError
            If `n_neighbors` is out of bounds, the columns do not match, or a value is
            not finite or beyond 1e150.
        """
        hint = f"The index holds {self.n_samples} rows."
        k = check_int("n_neighbors", n_neighbors, high=self.n_samples, hint=hint)
        queries = check_rows(rows, "rows")
        check_columns("rows", queries, self.n_features)
        if self.metric == "cosine":
            queries = on_sphere(queries)
        elif self.metric != "euclidean":
            return pairwise_neighbors(queries, self._all_rows(), k, self.metric)
        return self._to_neighbors(self._search(queries, k, device))

    def query_itself(self, n_neighbors: int, *, device: str = "cpu") -> Neighbors:
        """Return the nearest rows to each row of the index among its other rows.

        Parameters
        ----------
        n_neighbors : int
            Less than the rows of the index.
        device : str, default="cpu"
            A torch device to rank pairs on; for "euclidean" and "cosine".

        Returns
        -------
        neighbors : Neighbors
            A row is left out of its own neighbours; its duplicates are not.

        Raises
        ------
        ValueError
            If `n_neighbors` is out of bounds.
        """
        k = check_int(
            "n_neighbors",
            n_neighbors,
            high=self.n_samples - 1,
            hint=f"The index holds {self.n_samples} rows, none its own neighbour.",
        )
        if self.metric not in ("euclidean", "cosine"):
            return pairwise_neighbors(None, self._all_rows(), k, self.metric)
        found = self._search(self._rows, k + 1, device)
        group = self._group_of_row()
        return self._to_neighbors(without_itself(found[0][group], found[1][group]))

    def _group_of_row(self) -> NDArray[np.intp]:
        group = np.empty(self.n_samples, dtype=np.intp)
        group[self._members] = np.repeat(np.arange(len(self._rows)), self._counts)
        return group

    def _all_rows(self) -> NDArray[Any]:
        return self._rows[self._group_of_row()]

    def _to_neighbors(self, found: _Found) -> Neighbors:
        indices, squared = found
        if self.metric == "cosine":
            return Neighbors(indices, squared / 2)
        return Neighbors(indices, np.sqrt(squared))

    @property
    def _counts(self) -> NDArray[np.int64]:
        return np.diff(self._starts)

    def _prepare_products(self) -> None:
        rows = self._rows
        self._center = rows.mean(axis=0, dtype=np.float64)
        size = _largest_norm(rows, self._center)
        self._scale = 2.0 ** -np.ceil(np.log2(size)) if size > 0 else 1.0
        # rows of the sample first: the bound that they give cuts off most others
        step = min(_SAMPLE, len(rows))
        parts = [np.arange(first, len(rows), step) for first in range(step)]
        self._order = np.concatenate(parts)
        some = rows[:: -(-len(rows) // _AXES_FROM)]
        self._axes = leading_axes((some - self._center) * self._scale)
        self._right = self._right_factors(self._axes)

    def _right_factors(self, axes: NDArray[np.float64] | None) -> NDArray[np.float32]:
        """Return rows such that a product with a query grows as its distance falls.

        ``q.r - r.r / 2`` is ``(q.q - |q - r|**2) / 2``. Rows are centred and divided by
        a power of two that brings them near 1, which costs no digit.
        """
        n, d = self._rows.shape
        width = d if axes is None else axes.shape[1] + 1
        right = np.empty((n, width + 1), dtype=np.float32)
        for start in range(0, n, _ROWS):
            at = slice(start, start + _ROWS)
            rows = (self._rows[self._order[at]] - self._center) * self._scale
            right[at, :-1] = project(rows, axes)
            right[at, -1] = np.square(rows).sum(axis=1) / -2
        return right

    def _search(self, queries: NDArray[Any], k: int, device: str) -> _Found:
        if device != "cpu":
            return self._search_on(device, queries, k)
        step = max(1, min(_QUERIES, 2**18 // k))

        def search(start: int) -> _Found:
            block = queries[start : start + step].astype(np.float64)
            return self._nearest(block, self._candidates(block, k), k)

        starts = range(0, len(queries), step)
        return _stack(map_on_threads(search, starts, self._right.shape[1]))

    def _search_on(self, device: str, queries: NDArray[Any], k: int) -> _Found:
        """Rank the pairs of a block on a torch device, and decide on the CPU."""
        from ._device import Ranking

        right = self._right if self._axes is None else self._right_factors(None)
        ranking = Ranking(right, device)

        def search(start: int) -> _Found:
            rows = queries[start : start + ranking.n_queries].astype(np.float64)
            block = self._block(rows, None, ranking.rounding)
            if block is not None:
                n_unique = min(k, len(self._rows))
                pairs = ranking.candidates(block.left, block.error, n_unique)
                if pairs is not None:
                    return self._nearest(rows, (pairs[0], self._order[pairs[1]]), k)
            return self._search(rows, k, "cpu")

        return _stack(map(search, range(0, len(queries), ranking.n_queries)))

    def _block(
        self,
        queries: NDArray[np.float64],
        axes: NDArray[np.float64] | None,
        rounding: float = 2.0**-24,
    ) -> _Block | None:
        """Return queries ready for products, or None where one is too far off."""
        centered = (queries - self._center) * self._scale
        with np.errstate(over="ignore"):
            squares = np.square(centered).sum(axis=1)
        if squares.max() > _FAR**2:
            return None
        factors = project(centered, axes)
        left = np.ones((len(queries), factors.shape[1] + 1), dtype=np.float32)
        left[:, :-1] = factors
        error = product_error(queries.shape[1], rounding) * (np.sqrt(squares) + 1.0)
        return _Block(queries, left, error, squares)

    def _candidates(self, queries: NDArray[np.float64], k: int) -> _Indices | None:
        """Return pairs of queries and rows, all of the k nearest among them.

        None stands for too many pairs: where float32 cannot tell them apart, products
        in float64 can.
        """
        k, n = min(k, len(self._rows)), len(self._rows)
        block = self._block(queries, self._axes)
        if block is None:
            return None
        n_sample = min(n, max(-(-n // _SAMPLE), 16 * k))
        values = self._right[:n_sample] @ block.left.T
        least = bound_from_below(values, k) - 2 * block.error
        if self._axes is not None:
            _, least = self._tighten([at_least(values, least, 0)], k, block)
        found = [at_least(values, least, 0)]
        tighten = n_sample
        for start in range(n_sample, n, _ROWS):
            if start >= tighten:
                pairs, least = self._tighten(found, k, block)
                found, tighten = [pairs], _GROWTH * start
            values = self._right[start : start + _ROWS] @ block.left.T
            found.append(at_least(values, least, start))
            if sum(len(pairs[0]) for pairs in found) > _PAIRS:
                return None
        (i, at, _), _ = self._tighten(found, k, block)
        return i, self._order[at]

    def _tighten(
        self, found: list[Pairs], k: int, block: _Block
    ) -> tuple[Pairs, NDArray[np.float64]]:
        """Return the pairs that may be of the k nearest, and what those reach."""
        i, at, values = (np.concatenate(part) for part in zip(*found, strict=True))
        n = len(block.queries)
        kth = kth_largest(i, values, k, n)
        least = kth - 2 * block.error
        if self._axes is not None:
            # the values are bounds from above: the distances of the largest few tell
            top = values >= kth[i]
            rows = self._order[at[top]]
            squared = squared_differences(block.queries, i[top], self._rows, rows)
            squared = np.square(np.sqrt(squared) * self._scale)
            kth = kth_largest(i[top], -squared, k, n)
            least = (block.squares + kth) / 2 - 2 * block.error
        kept = values >= least[i]
        return (i[kept], at[kept], values[kept]), least

    def _nearest(
        self, queries: NDArray[np.float64], pairs: _Indices | None, k: int
    ) -> _Found:
        """Return the nearest rows, of the candidates where they are given."""
        n_unique = min(k, len(self._rows))
        if pairs is None:
            found = nearest_in_float64(queries, self._rows, n_unique)
        else:
            squared = squared_differences(queries, pairs[0], self._rows, pairs[1])
            found = nearest_pairs(*pairs, squared, n_unique)
        return found if len(self._rows) == self.n_samples else self._expand(found, k)

    def _expand(self, found: _Found, k: int) -> _Found:
        """Return the nearest rows from the nearest distinct rows."""
        unique, squared = found
        counts = np.minimum(self._counts[unique], k)
        reached = counts.cumsum(axis=1) >= k
        last = np.where(reached.any(axis=1), reached.argmax(axis=1), -1)
        bound = np.take_along_axis(squared, last[:, np.newaxis], axis=1)
        i, at = np.nonzero(squared <= bound)
        repeats = counts[i, at]
        ends = repeats.cumsum()
        offsets = np.arange(ends[-1]) - np.repeat(ends - repeats, repeats)
        pairs = np.repeat(np.arange(len(i)), repeats)
        j = self._members[self._starts[unique[i, at]][pairs] + offsets]
        return nearest_pairs(i[pairs], j, squared[i, at][pairs], k)


def check_rows(X: Any, name: str) -> NDArray[Any]:
    """Return X as finite rows of float64, float32 or uint8."""
    rows = check_array(
        flatten_images(X)[0],
        dtype=[np.float64, np.float32, np.uint8],
        order="C",
        input_name=name,
    )
    if rows.dtype == np.float64:
        size = max(float(rows.max()), -float(rows.min()))
        if size > _LARGEST:
            raise ValueError(
                f"{name} must hold values up to 1e150, whose squares are finite, got "
                f"one of size {size:.3g}. Divide all rows by a constant first."
            )
    return rows


def _check_arrays(
    rows: NDArray[Any], members: NDArray[np.int64], starts: NDArray[np.int64]
) -> None:
    """Raise where arrays, of a file perhaps, are not those of an index."""
    n = members.size
    fit = (
        rows.dtype in (np.float64, np.float32, np.uint8)
        and members.dtype == starts.dtype == np.int64
        and starts.shape == (len(rows) + 1,)
        and starts[0] == 0
        and starts[-1] == n
        and bool((starts[:-1] < starts[1:]).all())
        and np.array_equal(np.sort(members), np.arange(n))
    )
    if not fit:
        raise ValueError(
            "arrays must be those of an index: rows of float64, float32 or uint8, "
            "members that are a permutation, and starts that part them among the rows."
        )
    check_rows(rows, "rows")


def check_columns(name: str, rows: NDArray[Any], n_features: int) -> None:
    """Raise where rows to look up have other columns than those looked among."""
    if rows.shape[1] != n_features:
        raise ValueError(
            f"{name} must have the {n_features} columns of the rows they are compared "
            f"with, got {rows.shape[1]}."
        )


def _group_equal_rows(
    rows: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the first of each group of equal rows, all members, and their starts."""
    keys = _row_keys(rows)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    if not all(
        np.array_equal(rows[at : at + _ROWS], rows[first[group[at : at + _ROWS]]])
        for at in range(0, len(rows), _ROWS)
    ):
        _, first, group = np.unique(
            rows, axis=0, return_index=True, return_inverse=True
        )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    group = rank[group.ravel()]
    starts = np.concatenate([[0], np.bincount(group).cumsum()])
    members = np.argsort(group, kind="stable")
    return first[order], members.astype(np.int64), starts.astype(np.int64)


def _row_keys(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Return numbers that are equal for equal rows, and hardly for others."""
    draw = np.random.Generator(np.random.PCG64(0))
    factors = draw.integers(2**64, size=rows.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS].astype(np.float64)
        part += 0.0  # -0.0 equals 0.0 but has other bits
        bits = part.view(np.uint64)
        bits ^= bits >> np.uint64(29)
        keys[start : start + _ROWS] = (bits * factors).sum(axis=1, dtype=np.uint64)
    return keys


def _largest_norm(rows: NDArray[Any], center: NDArray[np.float64]) -> float:
    return (
        max(
            float(np.square(rows[start : start + _ROWS] - center).sum(axis=1).max())
            for start in range(0, len(rows), _ROWS)
        )
        ** 0.5
    )


def _stack(parts: Iterable[_Found]) -> _Found:
    indices, squared = (np.concatenate(part) for part in zip(*parts, strict=True))
    return indices, squared
