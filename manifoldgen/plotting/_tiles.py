"""Rows of data at any places of a picture: as images, or as the lines of their values.

Places are counted from the upper left, of images in pixels and of lines in units of
the height of one.
"""

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .._arrays import flatten_images
from ._cells import add_lines, lines_of
from ._estimators import rows_of
from ._images import as_images, mosaic
from ._style import INK, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_WIDTH = 1.5  # of a tile of a line, in units of its height


def tiles_of(X: Any, image_shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Return rows as images where their layout is known, else as they are.

    Parameters
    ----------
    X : array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
    image_shape : tuple of int (C, H, W) or (H, W), default=None

    Returns
    -------
    tiles : ndarray of shape (n, H, W), (n, 3, H, W) or (n, n_features)
    """
    rows, shape = flatten_images(X)
    layout = image_shape if image_shape is not None else shape
    return rows_of(rows) if layout is None else as_images(rows, layout)


def tile_size(tiles: NDArray[Any]) -> tuple[float, float]:
    """Return width and height of one tile."""
    if tiles.ndim > 2:
        return float(tiles.shape[-1]), float(tiles.shape[-2])
    return LINE_WIDTH, 1.0


def gap_of(tiles: NDArray[Any], share: float) -> float:
    """Return a share of the height of a tile, of images at least one whole pixel."""
    height = tile_size(tiles)[1]
    return max(1.0, float(round(share * height))) if tiles.ndim > 2 else share * height


def draw_tiles(
    ax: "Axes",
    tiles: NDArray[Any],
    lefts: NDArray[Any],
    tops: NDArray[Any],
    value_range: tuple[float, float],
    im_kwargs: dict[str, Any] | None,
    line_kwargs: dict[str, Any] | None,
) -> tuple[Any, Any]:
    """Draw tiles and take the frame of the axes away.

    Parameters
    ----------
    ax : matplotlib Axes
    tiles : ndarray of shape (n, H, W), (n, 3, H, W) or (n, n_features)
    lefts, tops : ndarray of shape (n,)
        Of images whole numbers.
    value_range : tuple of float (low, high)
        The values drawn black and white, or lowest and highest.
    im_kwargs, line_kwargs : dict or None
        Of the caller, over the defaults.

    Returns
    -------
    image : matplotlib AxesImage or None
        All tiles, where they are images.
    lines : matplotlib LineCollection or None
        All tiles, where they are not.
    """
    width, height = tile_size(tiles)
    right, bottom = lefts.max() + width, tops.max() + height
    image = lines = None
    if tiles.ndim > 2:
        picture = mosaic(tiles, tops.astype(int), lefts.astype(int), value_range)
        defaults = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0}
        defaults |= {"interpolation": "nearest", "extent": (0.0, right, bottom, 0.0)}
        image = ax.imshow(picture, **merged(defaults, im_kwargs))
    else:
        x, y = lefts + width / 2, tops + height / 2
        cell = (width, -height)  # of the axis: its values fall upwards
        lines = add_lines(ax, lines_of(tiles, x, y, cell, value_range), line_kwargs)
        ax.set_xlim(0.0, right)
        ax.set_ylim(bottom, 0.0)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelcolor=INK)
    ax.set_yticks([])
    return image, lines


def figure_size(
    tiles: NDArray[Any], right: float, bottom: float, tile_inches: float
) -> tuple[float, float]:
    """Return inches for a picture of tiles with a line of text above or below."""
    scale = min(tile_inches / tile_size(tiles)[0], 11 / right, 11 / bottom)
    return max(1.5, right * scale) + 0.2, max(0.5, bottom * scale) + 0.4
