"""Directions in latent space along which an attribute of the data grows."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.utils.validation import column_or_1d

from .._validation import check_choice
from ..covariance import Moments, moments, oas_shrinkage, shrink, whitening_matrix
from ._coordinates import coordinates, invertible_part, latents_of_rows

_MOST_CLASSES = 20  # of whole numbers that are taken for labels without being told
_LEAST_CORRELATION = 1e-8  # below it rounding alone gives the direction


@dataclass(frozen=True, eq=False)
class AttributeDirection:
    """Directions in latent space along which an attribute grows.

    Parameters
    ----------
    directions : ndarray of shape (n_directions, n_components), float64
        One for a number and for two classes, towards the second of them; else one for
        each class, away from the others. Each is as long as one standard deviation of
        the latents along it, which is the unit of all steps.
    classes : ndarray of shape (n_classes,) or None
        The labels in the order of `numpy.unique`; None for a number.
    scales : ndarray of shape (n_directions,), float64
        The length of each direction, in units of the latents.
    correlations : ndarray of shape (n_directions,), float64
        Pearson's, in (0, 1], between where rows lie along the direction and the number,
        or whether they are of the class.
    center : ndarray of shape (n_components,), float64
        Mean of the latents.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import attribute_direction
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_iris(return_X_y=True)
    >>> names = np.array(["setosa", "versicolor", "virginica"])[y]
    >>> found = attribute_direction(PCA(2).fit(X), X, names)
    >>> found.directions.shape, found.toward("virginica").round(2)
    ((3, 2), array([2.05, 0.05]))
    """

    directions: NDArray[np.float64]
    classes: NDArray[Any] | None
    scales: NDArray[np.float64]
    correlations: NDArray[np.float64]
    center: NDArray[np.float64]

    def toward(self, label: Any = None) -> NDArray[np.float64]:
        """Return the direction towards a class.

        Parameters
        ----------
        label : label, default=None
            One of `classes`. None is for a single direction: towards the second of two
            classes, or greater numbers.

        Returns
        -------
        direction : ndarray of shape (n_components,)

        Raises
        ------
        ValueError
            If `label` is no class, or None where there are several directions.
        """
        if label is None and len(self.directions) == 1:
            return self.directions[0]
        if self.classes is None:
            raise ValueError(
                f"label must be None for a direction of a number, got {label!r}."
            )
        at = np.flatnonzero(self.classes == label)
        if len(at) != 1:
            named = ", ".join(repr(known) for known in self.classes.tolist())
            raise ValueError(f"label must be one of {named}, got {label!r}.")
        if len(self.directions) == 1:
            return self.directions[0] if at[0] == 1 else -self.directions[0]
        return self.directions[at[0]]

    def project(self, Z: Any) -> NDArray[np.float64]:
        """Return where latents lie along each direction, from the mean of all.

        Parameters
        ----------
        Z : array-like of shape (n, n_components)

        Returns
        -------
        places : ndarray of shape (n, n_directions), float64
            In standard deviations: a step along a direction adds its length.
        """
        centered = np.asarray(Z, dtype=np.float64) - self.center
        return centered @ (self.directions / self.scales[:, None] ** 2).T


def attribute_direction(
    manifold: Any, X: Any, y: Any, *, method: str = "mean", target: str = "auto"
) -> AttributeDirection:
    r"""Learn from labels the direction in latent space along which an attribute grows.

    "mean" goes along the covariance c of latents and attribute, which for classes is
    the difference of their means [1]_: how rows with more of the attribute differ from
    those with less, in that and in whatever comes with it. "discriminant" goes along
    :math:`\Sigma^{-1} c`, with the covariance of the latents :math:`\Sigma`: the
    gradient of the best linear prediction, and for classes the normal of the boundary
    that separates them [2]_. It leaves alone what only comes with the attribute, where
    the latents tell the two apart, and what varies much anyway; but a prediction also
    rests on latents that are no part of the attribute and merely cancel noise [3]_,
    so that decoded rows change less for a step of one length.

    Parameters
    ----------
    manifold : manifold or Pipeline, fitted
        With `transform` and `inverse_transform`; a last step of a Pipeline that only
        generates is left out.
    X : array-like of shape (n_samples, n_features) or images
    y : array-like of shape (n_samples,)
        Labels of two classes or more, or numbers.
    method : {"mean", "discriminant"}, default="mean"
        What the direction follows.
    target : {"auto", "class", "number"}, default="auto"
        What `y` holds. "auto" takes fractional values for a number, and at most 20
        whole ones, strings and booleans for classes; more than 20 whole numbers could
        be either, and are refused.

    Returns
    -------
    found : AttributeDirection
        Rows moved by ``step`` standard deviations are
        ``manifold.inverse_transform(Z + step * found.toward(label))``.

    Raises
    ------
    TypeError
        If `manifold` cannot go there and back, or the labels are of several types.
    ValueError
        If `y` has another length than `X`, a missing or infinite value, fewer than two
        classes or one number alone, the latents tell nothing about it, or a parameter
        is unknown.

    See Also
    --------
    shift_attribute : Rows of data at steps along a direction.

    Notes
    -----
    The covariance is shrunk, in units of the standard deviations of the latents, as
    far as `oas_shrinkage` says, so that few rows do. Without that, the covariance
    within the classes would give the same direction as the one of all rows does.

    References
    ----------
    .. [1] T. White, "Sampling generative networks", 2016, arXiv:1609.04468.
    .. [2] Y. Shen, J. Gu, X. Tang, B. Zhou, "Interpreting the latent space of GANs for
       semantic face editing", CVPR 2020, arXiv:1907.10786. We take the boundary of
       least squares.
    .. [3] S. Haufe et al., "On the interpretation of weight vectors of linear models
       in multivariate neuroimaging", NeuroImage 87, 2014, Eq. (6).

    Examples
    --------
    >>> from manifoldgen import attribute_direction
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> pipe = make_pipeline(StandardScaler(), PCA(5)).fit(X)
    >>> found = attribute_direction(pipe, X, y)
    >>> found.directions.shape, found.correlations.round(2)
    ((1, 5), array([0.81]))
    >>> benign = pipe.inverse_transform(pipe.transform(X[:3]) + 2 * found.toward(1))
    >>> bool((benign[:, 0] < X[:3, 0]).all())  # of a smaller radius
    True
    """
    Z = latents_of_rows(invertible_part(manifold), X)
    return direction_of_latents(Z, y, method, target)


def shift_attribute(
    manifold: Any,
    X: Any,
    direction: AttributeDirection | NDArray[Any],
    steps: Sequence[float] = (-2.0, -1.0, 0.0, 1.0, 2.0),
    *,
    label: Any = None,
) -> NDArray[Any]:
    """Return rows of data moved along a direction in latent space.

    Parameters
    ----------
    manifold : manifold or Pipeline, fitted
        With `transform` and `inverse_transform`; a last step of a Pipeline that only
        generates is left out.
    X : array-like of shape (n_features,), an image as `fit` saw it, or several
        The rows to begin from.
    direction : AttributeDirection or array-like of shape (n_components,)
        What one step adds to the latents of a row.
    steps : sequence of float, default=(-2, -1, 0, 1, 2)
        How far to go, in lengths of `direction`; of an `AttributeDirection` these are
        standard deviations. 0 is the reconstruction.
    label : label, default=None
        Class to go towards, where `direction` has several.

    Returns
    -------
    rows : ndarray of shape (n, n_steps, n_features), or (n_steps, n_features) for one
        Each row in the layout of `inverse_transform`.

    Raises
    ------
    TypeError
        If `manifold` cannot go there and back.
    ValueError
        If `direction` is of another width than the latents, there are no `steps`, a
        value is not finite, or `label` is no class.

    Examples
    --------
    >>> from manifoldgen import attribute_direction, shift_attribute
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_digits(return_X_y=True)
    >>> pca = PCA(16).fit(X)
    >>> found = attribute_direction(pca, X, y)
    >>> shift_attribute(pca, X[:3], found, [0, 1, 2, 3], label=8).shape
    (3, 4, 64)
    """
    part = invertible_part(manifold)
    Z, single = coordinates(part, X)
    latents = shifted_latents(Z, step_of(direction, label), steps)
    rows = np.asarray(part.inverse_transform(latents.reshape(-1, Z.shape[1])))
    rows = rows.reshape(*latents.shape[:2], *rows.shape[1:])
    return rows[0] if single else rows


def direction_of_latents(
    Z: NDArray[np.float64], y: Any, method: str, target: str
) -> AttributeDirection:
    """Return what `attribute_direction` does for rows of the latents `Z`."""
    check_choice("method", method, ("mean", "discriminant"))
    check_choice("target", target, ("auto", "class", "number"))
    attribute, classes = _check_attribute(y, len(Z), target)
    total = moments(Z)
    covariances = _covariances(Z - total.mean, attribute, classes)
    gradients = covariances
    if method == "discriminant":
        gradients = covariances @ _inverse_covariance(total)
    return _as_directions(gradients, covariances, total, classes)


def step_of(
    direction: AttributeDirection | NDArray[Any], label: Any = None
) -> NDArray[np.float64]:
    """Return what one step along a direction adds, of shape (n_components,)."""
    if isinstance(direction, AttributeDirection):
        return direction.toward(label)
    if label is not None:
        raise ValueError(
            f"label must be None where direction is an array, got {label!r}."
        )
    step = np.asarray(direction, dtype=np.float64)
    if step.ndim == 2 and len(step) == 1:
        step = step[0]
    if step.ndim != 1 or not np.isfinite(step).all():
        raise ValueError(
            f"direction must be one finite vector of shape (n_components,), got shape "
            f"{step.shape}. Of several take one."
        )
    return step


def shifted_latents(
    Z: NDArray[Any], step: NDArray[np.float64], steps: Sequence[float]
) -> NDArray[Any]:
    """Return latents moved by steps, of shape (n, n_steps, n_components)."""
    lengths = np.asarray(steps, dtype=np.float64)
    if lengths.ndim != 1 or not len(lengths) or not np.isfinite(lengths).all():
        raise ValueError(
            f"steps must be a sequence of at least one finite number, got {steps!r}."
        )
    if len(step) != Z.shape[1]:
        raise ValueError(
            f"direction must have the {Z.shape[1]} components of the latents, got "
            f"{len(step)}."
        )
    moved = Z[:, None].astype(np.float64) + lengths[:, None] * step
    return moved.astype(Z.dtype) if Z.dtype.kind == "f" else moved


def _check_attribute(
    y: Any, n_rows: int, target: str
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return numbers and None, or the index of each row's class and the classes."""
    if isinstance(y, (list, tuple)) and np.asarray(y).dtype.kind in "US":
        y = np.array(y, dtype=object)  # or what is missing would become a string
    values = _plain(column_or_1d(y, input_name="y"))
    if len(values) != n_rows:
        raise ValueError(
            f"y must have one value for each of the {n_rows} rows of X, got "
            f"{len(values)}."
        )
    if not _is_class(values, target):
        numbers = values.astype(np.float64)
        if numbers.min() == numbers.max():
            raise ValueError(
                f"y must hold different numbers, got {numbers[0]:g} alone."
            )
        return numbers / np.abs(numbers).max(), None  # no unit overflows a square
    try:
        classes, index = np.unique(values, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values})
        raise TypeError(
            f"y must hold labels of one type, got {', '.join(kinds)}. Make strings of "
            f"all of them."
        ) from error
    if len(classes) < 2:
        raise ValueError(
            f"y must hold at least 2 classes, got {classes.tolist()[0]!r} alone."
        )
    return index, classes


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return values of numpy's own types where they have one; none may be missing."""
    if values.dtype.kind == "O":
        missing = np.array([_is_missing(value) for value in values], dtype=bool)
        if not missing.any():
            if all(isinstance(value, str) for value in values):
                values = values.astype(str)
            elif all(isinstance(value, (Real, np.bool_)) for value in values):
                values = np.array(values.tolist())
    else:
        missing = np.zeros(len(values), dtype=bool)
    if values.dtype.kind == "f":
        missing = ~np.isfinite(values)
    if missing.any():
        raise ValueError(
            f"y must have a finite value for each row, got {missing.sum()} missing or "
            f"infinite ones, the first in row {missing.argmax()}. Leave these rows out."
        )
    return values


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # of pandas, whose missing value is not even unequal to itself
        return True


def _is_class(values: NDArray[Any], target: str) -> bool:
    if values.dtype.kind not in "iuf":
        if target == "number":
            raise ValueError(
                f"y must hold numbers where target='number', got "
                f"{values[:1].tolist()[0]!r}."
            )
        return True
    if target != "auto":
        return target == "class"
    different = np.unique(values)
    if values.dtype.kind == "f" and (different != np.round(different)).any():
        return False
    if len(different) > _MOST_CLASSES:
        raise ValueError(
            f"target must be 'class' or 'number' where y holds more than "
            f"{_MOST_CLASSES} whole numbers, which may be either, got 'auto' and "
            f"{len(different)} of them."
        )
    return True


def _covariances(
    centered: NDArray[np.float64], attribute: NDArray[Any], classes: NDArray[Any] | None
) -> NDArray[np.float64]:
    """Return covariances with a number, or with being of each class, or of the second.

    The attribute is in units of its standard deviation. Of a class it is along the
    difference to the mean of the other rows.
    """
    n = len(centered)
    if classes is None:
        return ((attribute - attribute.mean()) @ centered / attribute.std() / n)[None]
    members = csr_array(
        (np.ones(n), (attribute, np.arange(n))), shape=(len(classes), n)
    )
    sums, shares = members @ centered, np.bincount(attribute) / n
    spread = np.sqrt(shares * (1.0 - shares))
    return (sums / n / spread[:, None])[1 if len(classes) == 2 else 0 :]


def _inverse_covariance(total: Moments) -> NDArray[np.float64]:
    """Return the inverse of the covariance, shrunk in units of its own scale.

    A latent that is constant has no part in any covariance, and gets rows of zeros.
    """
    covariance = total.covariance
    scale = np.sqrt(covariance.diagonal())
    alive = scale > 0
    inverse = np.zeros_like(covariance)
    if alive.any():
        units = np.outer(scale[alive], scale[alive])
        regular = covariance[np.ix_(alive, alive)] / units
        regular = shrink(regular, oas_shrinkage(regular, total.n_samples))
        whitening, _ = whitening_matrix(regular)
        inverse[np.ix_(alive, alive)] = whitening @ whitening.T / units
    return inverse


def _as_directions(
    gradients: NDArray[np.float64],
    covariances: NDArray[np.float64],
    total: Moments,
    classes: NDArray[Any] | None,
) -> AttributeDirection:
    """Return directions of one standard deviation each.

    `covariances` are those with the attribute in units of its standard deviation.
    """
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    units = gradients / np.where(norms > 0, norms, 1.0)
    scales = np.sqrt(np.einsum("ij,jk,ik->i", units, total.covariance, units))
    correlations = np.einsum("ij,ij->i", units, covariances)
    correlations = correlations / np.where(scales > 0, scales, 1.0)
    if not (correlations > _LEAST_CORRELATION).all():
        at = int(np.argmin(correlations))
        single = len(units) == 1
        of = "y" if classes is None or single else f"class {classes.tolist()[at]!r}"
        raise ValueError(
            f"X must have latents that differ with y, got none that differ with {of}: "
            f"there is no direction in which it grows."
        )
    return AttributeDirection(
        directions=units * scales[:, None],
        classes=classes,
        scales=scales,
        correlations=correlations,
        center=total.mean,
    )
