"""Decoded rows in a grid of cells: as images, or as the lines of their values."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from .._validation import check_real
from ..latent import invertible_part
from ._images import as_images, mosaic
from ._style import INK, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the width and the height of a cell, what a line of values takes.
LINE_SHARE = 0.8


def check_quantiles(quantiles: Any) -> tuple[float, float]:
    """Return two rising shares in [0, 1], else raise."""
    if np.shape(quantiles) != (2,):
        raise ValueError(f"quantiles must be a pair (low, high), got {quantiles!r}.")
    low = check_real("quantiles[0]", quantiles[0], 0.0, 1.0)
    high = check_real("quantiles[1]", quantiles[1], 0.0, 1.0)
    if low >= high:
        raise ValueError(f"quantiles must rise, got {quantiles!r}.")
    return low, high


def coordinates_of(estimator: Any, X: Any) -> tuple[NDArray[Any], Any]:
    """Return the latents that say where the data lie, and what inverts them.

    Parameters
    ----------
    estimator : manifold or Pipeline, fitted
    X : array-like of shape (n, n_features) or None
        None takes the `embedding_` that the last step holds.

    Returns
    -------
    Z : ndarray of shape (n, n_components)
    manifold : estimator
        With `transform` and `inverse_transform`.
    """
    manifold = invertible_part(estimator)
    if X is not None:
        return np.asarray(manifold.transform(X)), manifold
    last = manifold.steps[-1][1] if isinstance(manifold, Pipeline) else manifold
    embedding = getattr(last, "embedding_", None)
    if embedding is None:
        raise ValueError(
            f"X must be rows of data that say where in latent space to look, because "
            f"{type(last).__name__} holds no embedding_; got None."
        )
    return np.asarray(embedding), manifold


def decode_cells(
    manifold: Any, latents: NDArray[Any], image_shape: tuple[int, ...] | None
) -> NDArray[Any]:
    """Return what latents stand for, as images where their layout is known.

    Parameters
    ----------
    manifold : estimator
        With `inverse_transform`.
    latents : ndarray of shape (n_rows, n_columns, n_components)
    image_shape : tuple of int (C, H, W) or (H, W) or None
        None takes the layout of the decoded rows, or the `image_shape` that a step of
        `manifold` was given.

    Returns
    -------
    cells : ndarray of shape (n_rows, n_columns, H, W), (n_rows, n_columns, 3, H, W) \
or (n_rows, n_columns, n_features)
        The last for rows that are no images.
    """
    rows = np.asarray(manifold.inverse_transform(latents.reshape(-1, latents.shape[2])))
    if image_shape is None and rows.ndim == 2:
        image_shape = shape_given_to(manifold, rows.shape[1])
    if image_shape is not None or rows.ndim > 2:
        rows = as_images(rows, image_shape)
    return rows.reshape(*latents.shape[:2], *rows.shape[1:])


def shape_given_to(manifold: Any, n_features: int) -> tuple[int, ...] | None:
    """Return the `image_shape` of a step whose rows have so many values, or None."""
    steps = manifold.steps if isinstance(manifold, Pipeline) else [("", manifold)]
    for _, step in steps:
        shape = getattr(step, "image_shape", None)
        if shape is not None and math.prod(shape) == n_features:
            return tuple(shape)
    return None


def picture_of(
    cells: NDArray[Any],
    value_range: tuple[float, float],
    gap: int = 0,
    shown: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Return one picture of a grid of images, its first row on top.

    Parameters
    ----------
    cells : ndarray of shape (n_rows, n_columns, H, W) or (n_rows, n_columns, 3, H, W)
    value_range : tuple of float
        The values drawn darkest and brightest.
    gap : int, default=0
        Pixels left free between two images.
    shown : ndarray of shape (n_rows, n_columns), bool, default=None
        False leaves a place free; None shows all.

    Returns
    -------
    picture : ndarray of shape (H', W'), or (H', W', 4) for colour images
        As `mosaic` returns it.
    """
    n_rows, n_columns = cells.shape[:2]
    height, width = cells.shape[-2:]
    rows, columns = np.divmod(np.arange(n_rows * n_columns), n_columns)
    tops, lefts = rows * (height + gap), columns * (width + gap)
    images = cells.reshape(-1, *cells.shape[2:])
    picture = mosaic(images, tops, lefts, value_range)
    if shown is not None:
        hidden = ~shown.ravel()
        for top, left in zip(tops[hidden], lefts[hidden], strict=True):
            place = slice(top, top + height), slice(left, left + width)
            picture[place] = np.nan if picture.ndim == 2 else 0.0
    return picture


def lines_of(
    values: NDArray[Any],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    cell: tuple[float, float],
    value_range: tuple[float, float],
) -> NDArray[np.float64]:
    """Return rows of values as lines, each within a cell of the plane.

    Parameters
    ----------
    values : ndarray of shape (n, n_features)
    x, y : ndarray of shape (n,)
        The centres of the cells.
    cell : tuple of float (width, height)
        The line takes four fifths of either.
    value_range : tuple of float (low, high)
        The values drawn lowest and highest.

    Returns
    -------
    lines : ndarray of shape (n, max(n_features, 2), 2)
        One value is a level line.
    """
    if values.shape[1] == 1:
        values = np.repeat(values, 2, axis=1)
    low, high = value_range
    width, height = LINE_SHARE * cell[0], LINE_SHARE * cell[1]
    along = np.linspace(-0.5, 0.5, values.shape[1]) * width
    up = ((values.astype(np.float64) - low) / (high - low) - 0.5) * height
    across = np.broadcast_to(x[:, None] + along, up.shape)
    return np.stack([across, y[:, None] + up], axis=-1)


def add_lines(
    ax: "Axes", lines: NDArray[np.float64], given: dict[str, Any] | None
) -> Any:
    """Draw lines and return their collection."""
    from matplotlib.collections import LineCollection

    defaults = {"colors": INK, "linewidths": 1.0}
    return ax.add_collection(LineCollection(list(lines), **merged(defaults, given)))
