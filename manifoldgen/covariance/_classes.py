"""Moments of the rows of each class, from one pass."""

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._chunks import merge_chunks, numeric_rows
from ._moments import Moments, moments_of_rows

_STEP_ROWS = 16 * 1024


@dataclass(frozen=True)
class ClassMoments:
    """Moments of the rows of each class; those of disjoint sets of rows add up.

    Everything that depends on the classes and the rows by means and covariances alone
    follows from them without another pass: the covariance of a class, the one that all
    classes share, and the one of all rows.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    parts : tuple of Moments
        Of the rows of each class. The scatter of a class of one row is 0.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [2.0], [10.0], [10.0], [16.0]])
    >>> found = class_moments(X, np.array(["a", "a", "b", "b", "b"]))
    >>> [float(part.mean[0]) for part in found.parts]
    [1.0, 12.0]
    >>> found.tied.scatter, found.total.scatter  # 2 + 24, and 171.2
    (array([[26.]]), array([[171.2]]))
    """

    classes: NDArray[Any]
    parts: tuple[Moments, ...]

    @property
    def n_samples(self) -> int:
        """Number of rows of all classes."""
        return sum(part.n_samples for part in self.parts)

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of each class, (n_classes, n_features)."""
        return np.stack([part.mean for part in self.parts])

    @property
    def total(self) -> Moments:
        """The moments of all rows, as if there were no classes."""
        return reduce(Moments.merge, self.parts)

    @property
    def tied(self) -> Moments:
        """The pooled moments within the classes, about the mean of all rows.

        Their scatter, and their third and fourth powers where there are any, are those
        of ``x - mean of its class``.
        """
        scatter = sum((part.scatter for part in self.parts[1:]), self.parts[0].scatter)
        found = Moments(self.n_samples, self.total.mean, scatter)
        thirds = [part.third for part in self.parts if part.third is not None]
        fourths = [part.fourth for part in self.parts if part.fourth is not None]
        if len(fourths) < len(self.parts):
            return found
        return replace(found, third=np.sum(thirds, axis=0), fourth=sum(fourths))

    def merge(self, other: "ClassMoments") -> "ClassMoments":
        """Return the moments of these rows and the rows of `other` together.

        A class may be in either alone.
        """
        parts = dict(zip(self.classes.tolist(), self.parts, strict=True))
        for label, part in zip(other.classes.tolist(), other.parts, strict=True):
            parts[label] = parts[label].merge(part) if label in parts else part
        return _by_label(parts, np.union1d(self.classes, other.classes))

    def without(self, part: "ClassMoments") -> "ClassMoments":
        """Return the moments of the rows that are left where `part` is taken out.

        A class of which no row is left is gone.

        Raises
        ------
        ValueError
            If `part` has rows that are not here, or no row is left.
        """
        parts = dict(zip(self.classes.tolist(), self.parts, strict=True))
        for label, taken in zip(part.classes.tolist(), part.parts, strict=True):
            held = parts[label].n_samples if label in parts else 0
            if taken.n_samples > held:
                raise ValueError(
                    f"part must be taken of the rows that are here, {held} of class "
                    f"{label!r}, got {taken.n_samples}."
                )
            if taken.n_samples == held:
                del parts[label]
            else:
                parts[label] = parts[label].without(taken)
        if not parts:
            raise ValueError(
                f"part must leave a row, got all {self.n_samples} of every class."
            )
        left = [label in parts for label in self.classes.tolist()]
        return _by_label(parts, self.classes[left])


def _by_label(parts: dict[Any, Moments], classes: NDArray[Any]) -> ClassMoments:
    return ClassMoments(classes, tuple(parts[label] for label in classes.tolist()))


def class_moments(X: Any, y: Any = None, *, fourth: bool = False) -> ClassMoments:
    """Return the moments of the rows of each class, in one pass.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), or iterable of pairs
        Real numbers, as for `moments`; without `y` an iterable of chunks, each a pair
        of rows and labels.
    y : array-like of shape (n_samples,), default=None
        A label of each row.
    fourth : bool, default=False
        Whether to sum what Ledoit-Wolf shrinkage needs as well.

    Returns
    -------
    moments : ClassMoments

    Raises
    ------
    TypeError
        If X is neither, or does not hold real numbers.
    ValueError
        If there is not one label, none of them NaN, for each row, or where `moments`
        raises.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> y = np.arange(500) % 2
    >>> bool(np.allclose(class_moments(X, y).parts[1].mean, X[y == 1].mean(axis=0)))
    True
    >>> chunks = ((X[i : i + 90], y[i : i + 90]) for i in range(0, 500, 90))
    >>> class_moments(chunks).n_samples
    500
    """
    if y is not None:
        rows = numeric_rows(X)
        if not len(rows):
            raise ValueError("X must have at least one row, got none.")
        return _of_rows(rows, y, fourth, "X")

    def of_chunk(chunk: Any, name: str) -> tuple[ClassMoments | None, int]:
        pair = chunk if isinstance(chunk, tuple | list) else ()
        if len(pair) != 2:
            raise TypeError(
                f"{name} must be a pair of rows and labels, got "
                f"{type(chunk).__name__}. Pass y where X is one array."
            )
        rows = numeric_rows(pair[0], name)
        found = _of_rows(rows, pair[1], fourth, name) if len(rows) else None
        return found, rows.shape[1]

    return merge_chunks(X, of_chunk)


def _of_rows(X: NDArray[Any], y: Any, fourth: bool, name: str) -> ClassMoments:
    labels = np.asarray(y)
    if labels.shape != (len(X),):
        raise ValueError(
            f"y must have one label for each of the {len(X)} rows of {name}, got an "
            f"array of shape {labels.shape}."
        )
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError("y must hold labels, got NaN. Leave such rows out.")
    # Long enough for a class to have about as many rows as columns: a product of fewer
    # costs less than adding it up.
    n_classes = len(np.unique(labels[:_STEP_ROWS]))
    step = max(_STEP_ROWS, n_classes * X.shape[1])
    starts = range(0, len(X), step)
    steps = (slice(start, start + step) for start in starts)
    return reduce(
        ClassMoments.merge,
        (_of_step(X[rows], labels[rows], fourth, name) for rows in steps),
    )


def _of_step(
    X: NDArray[Any], labels: NDArray[Any], fourth: bool, name: str
) -> ClassMoments:
    classes, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.split(np.argsort(places, kind="stable"), np.cumsum(counts)[:-1])
    parts = tuple(moments_of_rows(X[rows], fourth, name) for rows in order)
    return ClassMoments(classes, parts)
