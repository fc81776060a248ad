"""Moments of the rows of each class, from one pass."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._moments import Moments, moments

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

        Their covariance is that of ``x - mean of its class``.
        """
        scatter = sum((part.scatter for part in self.parts[1:]), self.parts[0].scatter)
        return Moments(self.n_samples, self.total.mean, scatter)

    def merge(self, other: "ClassMoments") -> "ClassMoments":
        """Return the moments of these rows and the rows of `other` together.

        A class may be in either alone.
        """
        parts = dict(zip(self.classes.tolist(), self.parts, strict=True))
        for label, part in zip(other.classes.tolist(), other.parts, strict=True):
            parts[label] = parts[label].merge(part) if label in parts else part
        classes = np.union1d(self.classes, other.classes)
        return ClassMoments(classes, tuple(parts[label] for label in classes.tolist()))


def class_moments(X: NDArray[Any], y: NDArray[Any]) -> ClassMoments:
    """Return the moments of the rows of each class, in one pass.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
    y : ndarray of shape (n_samples,)
        A label of each row.

    Returns
    -------
    moments : ClassMoments

    Raises
    ------
    ValueError
        If `y` has not one label a row, or the squares of `X` are too large for float64.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> y = np.arange(500) % 2
    >>> bool(np.allclose(class_moments(X, y).parts[1].mean, X[y == 1].mean(axis=0)))
    True
    """
    rows, labels = np.asarray(X), np.asarray(y)
    if labels.shape != (len(rows),):
        raise ValueError(
            f"y must have one label for each of the {len(rows)} rows of X, got an "
            f"array of shape {labels.shape}."
        )
    starts = range(0, len(rows), _STEP_ROWS)
    return reduce(ClassMoments.merge, (_step(rows, labels, start) for start in starts))


def _step(X: NDArray[Any], y: NDArray[Any], start: int) -> ClassMoments:
    rows, labels = X[start : start + _STEP_ROWS], y[start : start + _STEP_ROWS]
    classes = np.unique(labels)
    parts = tuple(moments(rows[labels == label]) for label in classes)
    return ClassMoments(classes, parts)
