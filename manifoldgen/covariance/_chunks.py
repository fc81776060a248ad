"""Rows in one array, or in chunks of which no two are held at once."""

from collections.abc import Callable, Iterable
from functools import reduce
from itertools import count
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray


class Mergeable(Protocol):
    """Sums over rows, which add up."""

    def merge(self, other: Self, /) -> Self:
        """Return the sums over the rows of both."""
        ...


Sums = TypeVar("Sums", bound=Mergeable)


def is_array(X: Any) -> bool:
    """Return whether `X` is one array, and no iterable of chunks."""
    return isinstance(X, np.ndarray) or hasattr(X, "__array__")


def numeric_rows(X: Any, name: str = "X") -> NDArray[Any]:
    """Return `X` as an array of two dimensions; one on disk stays there.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If it has another number of dimensions.
    """
    rows = np.asarray(X)
    if rows.ndim != 2:
        raise ValueError(
            f"{name} must be an array of shape (n_samples, n_features), got one of "
            f"shape {rows.shape}."
        )
    if rows.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {rows.dtype}.")
    return rows


def merge_chunks(
    chunks: Iterable[Any], sums_of: Callable[[Any, str], tuple[Sums | None, int]]
) -> Sums:
    """Return the sums over the rows of all chunks, one chunk at a time.

    Parameters
    ----------
    chunks : iterable
    sums_of : callable
        Takes a chunk and its name in errors; returns its sums, None where it has no
        rows, and its number of columns.

    Raises
    ------
    TypeError
        If `chunks` cannot be iterated over.
    ValueError
        If there are no rows, or chunks differ in their number of columns.
    """
    if not isinstance(chunks, Iterable):
        raise TypeError(
            f"X must be an array or an iterable of arrays, got {type(chunks).__name__}."
        )
    first_width: int | None = None

    def checked(number: int, chunk: Any) -> Sums | None:
        nonlocal first_width
        name = f"chunk {number} of X"
        sums, width = sums_of(chunk, name)
        if first_width not in (None, width):
            raise ValueError(
                f"{name} must have {first_width} columns like those before it, got "
                f"{width}."
            )
        first_width = width
        return sums

    # `map` lets go of a chunk before it asks for the next; a loop variable would not.
    parts = filter(None, map(checked, count(), chunks))
    first = next(parts, None)
    if first is None:
        raise ValueError("X must have at least one row, got chunks without any.")
    return reduce(lambda sums, part: sums.merge(part), parts, first)
