"""A uniform sample of a stream of rows that does not depend on its batches."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


def row_keys(seed: int, start: int, n_rows: int) -> NDArray[np.float64]:
    """Return random numbers of the rows `start` and on in a stream of rows.

    They depend on `seed` and on a row's place in the stream, not on the batches.
    """
    stream = np.random.PCG64(seed).advance(start)
    return np.random.Generator(stream).random(n_rows)


def smallest(keys: NDArray[np.float64], n_kept: int) -> NDArray[np.int64]:
    """Return the places of the `n_kept` smallest keys, the smallest first.

    The rows of the smallest keys in a stream are a uniform sample of it, and so are the
    first of these.

    Examples
    --------
    >>> import numpy as np
    >>> smallest(np.array([0.4, 0.1, 0.3, 0.2]), 2)
    array([1, 3])
    """
    places = np.arange(len(keys))
    if len(keys) > n_kept:
        places = np.flatnonzero(keys <= np.partition(keys, n_kept - 1)[n_kept - 1])
    order = np.argsort(keys[places], kind="stable")[:n_kept]
    return places[order]


class Reservoir(NamedTuple):
    """Rows kept of a stream, those of the smallest keys, and their labels if any."""

    n_offered: int
    keys: NDArray[np.float64]
    rows: NDArray[Any]
    labels: NDArray[Any] | None


def kept_of(
    before: Reservoir | None,
    keys: NDArray[np.float64],
    rows: NDArray[Any],
    labels: NDArray[Any] | None,
    n_kept: int,
) -> Reservoir:
    """Return what is kept of a stream when `rows` are added to it."""
    if before is None:
        kept = smallest(keys, n_kept)
        some = None if labels is None else labels[kept]
        return Reservoir(len(rows), keys[kept], rows[kept], some)
    # Rows that cannot be among the kept ones are left out before they are copied.
    full = len(before.keys) >= n_kept
    fresh = keys < before.keys[-1] if full else np.ones(len(keys), dtype=bool)
    all_keys = np.concatenate([before.keys, keys[fresh]])
    kept = smallest(all_keys, n_kept)
    some = None
    if labels is not None and before.labels is not None:
        some = np.concatenate([before.labels, labels[fresh]])[kept]
    all_rows = np.concatenate([before.rows, rows[fresh]])
    n_offered = before.n_offered + len(rows)
    return Reservoir(n_offered, all_keys[kept], all_rows[kept], some)


class AllRows(NamedTuple):
    """All training rows, for a covariance that moments do not give."""

    rows: NDArray[Any]
    labels: NDArray[Any] | None
    keys: NDArray[np.float64]

    def without(self, n_calibration: int) -> "AllRows":
        """Return the rows other than those of the smallest keys."""
        left = np.ones(len(self.rows), dtype=bool)
        left[smallest(self.keys, n_calibration)] = False
        some = None if self.labels is None else self.labels[left]
        return AllRows(self.rows[left], some, self.keys[left])
