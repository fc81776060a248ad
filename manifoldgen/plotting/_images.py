"""Grids of images: samples, and originals above their reconstructions."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import flatten_images
from .._validation import check_int
from ..pipeline import sample_from
from ._estimators import latents_of, rows_of
from ._style import INK, figure_and_axes, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TILE_INCHES = 0.62
MAX_COLUMNS = 12


def as_images(X: Any, image_shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Return rows as images.

    Parameters
    ----------
    X : array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
    image_shape : tuple of int (C, H, W) or (H, W), default=None
        Layout of a row; None takes it from an `X` of 3 or 4 dimensions.

    Returns
    -------
    images : ndarray of shape (n, H, W) or (n, 3, H, W)

    Raises
    ------
    ValueError
        If the rows have no layout, another number of values than the layout, or
        neither 1 nor 3 channels.
    """
    rows, shape = flatten_images(X)
    rows = rows_of(rows)
    shape = tuple(image_shape) if image_shape is not None else shape
    if shape is None:
        raise ValueError(_no_layout(rows.shape[1]))
    if len(shape) not in (2, 3) or math.prod(shape) != rows.shape[1]:
        raise ValueError(
            f"image_shape must be (channels, height, width) or (height, width) with "
            f"{rows.shape[1]} values in all, as each row has, got {shape}."
        )
    channels, height, width = shape if len(shape) == 3 else (1, *shape)
    if channels not in (1, 3):
        raise ValueError(
            f"image_shape must have 1 channel (grey) or 3 (red, green, blue) to be "
            f"drawn, got {channels}."
        )
    if channels == 1:
        return rows.reshape(-1, height, width)
    return rows.reshape(-1, channels, height, width)


def _no_layout(n_features: int) -> str:
    message = (
        f"image_shape is needed to draw rows of {n_features} values as images: pass "
        f"image_shape=(channels, height, width)"
    )
    side = math.isqrt(n_features)
    if side > 1 and side * side == n_features:
        message += f", which may be (1, {side}, {side}) here"
    return f"{message}. Rows that are no images are drawn by EmbeddingDisplay."


def value_range_of(images: NDArray[Any]) -> tuple[float, float]:
    """Return the values drawn darkest and brightest: 0 and 255 for bytes."""
    if images.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(np.min(images)), float(np.max(images))
    return low, high if high > low else low + 1.0


def mosaic(
    images: NDArray[Any],
    tops: NDArray[Any],
    lefts: NDArray[Any],
    value_range: tuple[float, float],
) -> NDArray[Any]:
    """Return one picture with the images at the given pixels, nothing between them.

    Parameters
    ----------
    images : ndarray of shape (n, H, W) or (n, 3, H, W)
    tops, lefts : ndarray of shape (n,), int
        Where the upper left pixel of each image goes.
    value_range : tuple of float
        The values drawn darkest and brightest; those outside are clipped.

    Returns
    -------
    picture : ndarray of shape (H', W'), or (H', W', 4) for colour images
        In [0, 1]; NaN, or alpha 0, where there is no image.
    """
    low, high = value_range
    scaled = np.clip((images.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    height, width = images.shape[-2:]
    size = (int(tops.max()) + height, int(lefts.max()) + width)
    if images.ndim == 3:
        picture = np.full(size, np.nan)
    else:
        picture = np.zeros((*size, 4))
        opaque = np.ones((len(images), height, width, 1))
        scaled = np.concatenate([np.moveaxis(scaled, 1, -1), opaque], axis=-1)
    for image, top, left in zip(scaled, tops, lefts, strict=True):
        picture[top : top + height, left : left + width] = image
    return picture


def gap_between(images: NDArray[Any]) -> int:
    """Return the pixels left free between two images."""
    return max(1, round(0.07 * min(images.shape[-2:])))


def grid_places(
    labels: NDArray[Any] | None, n_images: int, n_columns: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[int, Any]]:
    """Return row and column of each image, and the label that each row starts.

    A class starts a new row and goes on below where it has more than `n_columns`.
    """
    if labels is None:
        rows, columns = np.divmod(np.arange(n_images), n_columns)
        return rows, columns, {}
    rows = np.empty(n_images, dtype=np.intp)
    columns = np.empty(n_images, dtype=np.intp)
    starts: dict[int, Any] = {}
    row = 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        below, columns[members] = np.divmod(np.arange(len(members)), n_columns)
        rows[members] = row + below
        starts[row] = label
        row += int(below[-1]) + 1
    return rows, columns, starts


def _columns_for(
    labels: NDArray[Any] | None, n_images: int, n_columns: int | None
) -> int:
    if n_columns is not None:
        return check_int("n_columns", n_columns)
    if labels is None:
        side = min(MAX_COLUMNS, math.ceil(math.sqrt(n_images)))
        full = [n for n in range(side, MAX_COLUMNS + 1) if n_images % n == 0]
        return full[0] if full else side
    return min(MAX_COLUMNS, int(np.unique(labels, return_counts=True)[1].max()))


def _draw(
    ax: "Axes | None",
    picture: NDArray[Any],
    tile: tuple[int, int],
    names: Sequence[str],
    centers: Sequence[float],
    im_kwargs: dict[str, Any] | None,
    caller: str,
) -> "tuple[Any, Axes, Any]":
    """Draw a mosaic, its tiles about as large in any grid, and name its rows."""
    height, width = picture.shape[:2]
    scale = min(TILE_INCHES / tile[1], 11 / width, 11 / height)
    margin = 0.2 + 0.09 * max((len(name) for name in names), default=0)
    size = (max(1.0, width * scale) + margin, max(0.5, height * scale) + 0.15)
    figure, ax = figure_and_axes(ax, size, caller, layout="compressed")
    defaults = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}
    image = ax.imshow(picture, **merged(defaults, im_kwargs))
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks(centers, names)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    return figure, ax, image


class SampleGridDisplay:
    """A grid of images, one class a row where there are labels.

    All images share one range of values, so that a dim one looks dim.

    Parameters
    ----------
    images : ndarray of shape (n, H, W) or (n, 3, H, W)
    labels : ndarray of shape (n,), default=None
        Class of each image; a class starts a row of its own.
    value_range : tuple of float (low, high), default=None
        The values drawn black and white; None takes the extremes of `images`, or 0
        and 255 for bytes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage
        The whole grid.

    Examples
    --------
    >>> from manifoldgen import SampleGridDisplay
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> display = SampleGridDisplay.from_samples(
    ...     X[:50], y=y[:50], image_shape=(1, 8, 8)
    ... )
    >>> [label.get_text() for label in display.ax_.get_yticklabels()[:3]]
    ['0', '1', '2']
    """

    def __init__(
        self,
        *,
        images: NDArray[Any],
        labels: NDArray[Any] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        n_samples: int | None = None,
        *,
        y: Any = None,
        X: Any = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
        **plot_kwargs: Any,
    ) -> "SampleGridDisplay":
        """Draw samples of a fitted generator.

        Parameters
        ----------
        estimator : Pipeline or generator, fitted
            Whatever `sample_from` can draw from.
        n_samples : int, default=None
            How many images; None is one for each label in `y`, else 50.
        y : label or array-like of shape (n_samples,), default=None
            Labels to draw, for a conditional generator.
        X : array-like, default=None
            Real data of the same layout, whose range of values the picture takes.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row; None works where the samples come as images.
        random_state : int, RandomState or None, default=None
            None draws afresh.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : SampleGridDisplay

        Raises
        ------
        ValueError
            If the samples cannot be laid out as images.
        """
        many = y is not None and np.ndim(y) > 0
        if n_samples is None:
            n_samples = len(y) if many else 50
        drawn = sample_from(estimator, n_samples, y=y, random_state=random_state)
        value_range = None if X is None else value_range_of(rows_of(X))
        return cls.from_samples(
            drawn,
            y=y if many else None,
            image_shape=image_shape,
            value_range=value_range,
            **plot_kwargs,
        )

    @classmethod
    def from_samples(
        cls,
        X: Any,
        *,
        y: Any = None,
        image_shape: tuple[int, ...] | None = None,
        value_range: tuple[float, float] | None = None,
        **plot_kwargs: Any,
    ) -> "SampleGridDisplay":
        """Draw rows that are here already, real or generated.

        Parameters
        ----------
        X : array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
        y : array-like of shape (n,), default=None
            Class of each row; a class starts a row of the grid.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row; None works where `X` holds images.
        value_range : tuple of float (low, high), default=None
            The values drawn black and white; None takes the extremes of `X`.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : SampleGridDisplay

        Raises
        ------
        ValueError
            If `X` cannot be laid out as images, or `y` has another length.
        """
        images = as_images(X, image_shape)
        labels = None if y is None else np.asarray(y)
        if labels is not None and labels.shape != (len(images),):
            raise ValueError(
                f"y must have one label for each of the {len(images)} images, got "
                f"shape {labels.shape}."
            )
        display = cls(images=images, labels=labels, value_range=value_range)
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        n_columns: int | None = None,
        im_kwargs: dict[str, Any] | None = None,
    ) -> "SampleGridDisplay":
        """Draw the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure of a size that suits the grid.
        n_columns : int, default=None
            Images in a row; None fills the rows of a near square, or takes the
            largest class, and never more than 12.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.

        Returns
        -------
        self : SampleGridDisplay
        """
        images = np.asarray(self.images)
        n_columns = _columns_for(self.labels, len(images), n_columns)
        rows, columns, starts = grid_places(self.labels, len(images), n_columns)
        height, width = images.shape[-2:]
        gap = gap_between(images)
        value_range = self.value_range or value_range_of(images)
        picture = mosaic(
            images, rows * (height + gap), columns * (width + gap), value_range
        )
        self.figure_, self.ax_, self.image_ = _draw(
            ax,
            picture,
            (height, width),
            [str(label) for label in starts.values()],
            [row * (height + gap) + (height - 1) / 2 for row in starts],
            im_kwargs,
            "SampleGridDisplay.plot",
        )
        return self


class ReconstructionDisplay:
    """Originals, and below each what the manifold makes of it.

    Parameters
    ----------
    originals, reconstructions : ndarray of shape (n, H, W) or (n, 3, H, W)
    value_range : tuple of float (low, high), default=None
        The values drawn black and white; None takes the extremes of `originals`, or
        0 and 255 for bytes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage
        The whole grid.

    Examples
    --------
    >>> from manifoldgen import ReconstructionDisplay
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, _ = load_digits(return_X_y=True)
    >>> pca = PCA(16).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(pca, X[:10], image_shape=(8, 8))
    >>> display.reconstructions.shape
    (10, 8, 8)
    """

    def __init__(
        self,
        *,
        originals: NDArray[Any],
        reconstructions: NDArray[Any],
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.originals = originals
        self.reconstructions = reconstructions
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "ReconstructionDisplay":
        """Draw rows of data and what a fitted manifold gives back for them.

        Parameters
        ----------
        estimator : manifold or Pipeline, fitted
            With `transform` and `inverse_transform`; a last step of a Pipeline that
            only generates is left out.
        X : array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            All of them are drawn: hand in the ones to look at.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row; None works where `X` holds images.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ValueError
            If the rows cannot be laid out as images.
        TypeError
            If `estimator` cannot go there and back.
        """
        originals = as_images(X, image_shape)
        latents, manifold = latents_of(estimator, X)
        if not hasattr(manifold, "inverse_transform"):
            raise TypeError(
                f"estimator must have inverse_transform to reconstruct, which "
                f"{type(manifold).__name__} has not."
            )
        back = np.asarray(manifold.inverse_transform(latents))
        reconstructions = back.reshape(originals.shape)
        display = cls(originals=originals, reconstructions=reconstructions)
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        n_columns: int | None = None,
        im_kwargs: dict[str, Any] | None = None,
    ) -> "ReconstructionDisplay":
        """Draw the pairs.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure of a size that suits the grid.
        n_columns : int, default=None
            Pairs side by side, at most 12 for None; the others follow below.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.

        Returns
        -------
        self : ReconstructionDisplay
        """
        originals = np.asarray(self.originals)
        height, width = originals.shape[-2:]
        gap = gap_between(originals)
        n_pairs = len(originals)
        if n_columns is None:
            n_columns = min(n_pairs, MAX_COLUMNS)
        n_columns = check_int("n_columns", n_columns)
        blocks, columns = np.divmod(np.arange(n_pairs), n_columns)
        tops = blocks * (2 * height + 4 * gap)
        below = tops + height + gap
        picture = mosaic(
            np.concatenate([originals, self.reconstructions]),
            np.concatenate([tops, below]),
            np.tile(columns * (width + gap), 2),
            self.value_range or value_range_of(originals),
        )
        centers = np.unique(np.concatenate([tops, below])) + (height - 1) / 2
        self.figure_, self.ax_, self.image_ = _draw(
            ax,
            picture,
            (height, width),
            ["original", "reconstruction"] * (len(centers) // 2),
            list(centers),
            im_kwargs,
            "ReconstructionDisplay.plot",
        )
        return self
