"""The plane of two latent components, decoded place by place."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .._validation import check_int
from ._cells import (
    add_lines,
    check_quantiles,
    coordinates_of,
    decode_cells,
    lines_of,
    picture_of,
)
from ._embedding import EmbeddingDisplay
from ._estimators import rows_of
from ._images import gap_between, value_range_of
from ._style import PALETTE, figure_and_axes, merged, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID_INCHES = 6.0
LINE_TILE = (2, 3)  # height and width of a cell that holds a line
MAX_POINTS = 500  # drawn over the cells, which have to be seen


def grid_over(
    Z: NDArray[Any],
    n_rows: int,
    n_columns: int,
    components: tuple[int, int] = (0, 1),
    quantiles: tuple[float, float] = (0.02, 0.98),
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return even places over the plane of two components, as latents.

    Parameters
    ----------
    Z : ndarray of shape (n, n_components)
        Where the data lie.
    n_rows, n_columns : int
        Places along the second and the first of `components`.
    components : tuple of int, default=(0, 1)
    quantiles : tuple of float, default=(0.02, 0.98)
        Of each component, where the places begin and end; one that is constant gets
        a width of 1.

    Returns
    -------
    x : ndarray of shape (n_columns,), float64
        Values of the first component, rising.
    y : ndarray of shape (n_rows,), float64
        Values of the second component, rising.
    latents : ndarray of shape (n_rows, n_columns, n_components), float64
        Other components have their median.
    """
    ends = np.quantile(Z[:, list(components)].astype(np.float64), quantiles, axis=0)
    constant = ends[1] <= ends[0]
    ends += np.where(constant, 0.5, 0.0) * np.array([[-1.0], [1.0]])
    x = np.linspace(ends[0, 0], ends[1, 0], n_columns)
    y = np.linspace(ends[0, 1], ends[1, 1], n_rows)
    latents = np.tile(np.median(Z, axis=0).astype(np.float64), (n_rows, n_columns, 1))
    latents[..., components[0]] = x
    latents[..., components[1]] = y[:, None]
    return x, y, latents


def near_points(
    x: NDArray[np.float64], y: NDArray[np.float64], points: NDArray[Any]
) -> NDArray[np.bool_]:
    """Return which places of a grid have a point no further off than the next place.

    Parameters
    ----------
    x, y : ndarray of shape (n_columns,) and (n_rows,)
        Even places, rising; at least 2.
    points : ndarray of shape (n, 2)

    Returns
    -------
    near : ndarray of shape (n_rows, n_columns), bool
    """
    step = np.array([x[1] - x[0], y[1] - y[0]])
    places = np.stack(np.meshgrid(x, y), axis=-1)
    distances, _ = cKDTree(points / step).query(places / step)
    return distances <= 1.0


def _check_components(components: Any, n_components: int) -> tuple[int, int]:
    if n_components < 2:
        raise ValueError(
            "estimator must have at least 2 latent components to span a plane, got 1. "
            "TraversalDisplay draws what one component does."
        )
    if np.shape(components) != (2,) or components[0] == components[1]:
        raise ValueError(f"components must be two different ones, got {components!r}.")
    first, second = (
        check_int("components", value, 0, n_components - 1) for value in components
    )
    return first, second


class LatentGridDisplay:
    """What a manifold makes of places spread evenly over the plane of two latents.

    Images stand side by side where their rows are images. Rows that are no images
    are drawn as lines, value by value from left to right, all on one scale.

    Parameters
    ----------
    x : ndarray of shape (n_columns,)
        Values of the component that goes to the right, even and rising.
    y : ndarray of shape (n_rows,)
        Values of the component that goes up, even and rising.
    cells : ndarray of shape (n_rows, n_columns, H, W), (n_rows, n_columns, 3, H, W) \
or (n_rows, n_columns, n_features)
        What is at each place; ``cells[0]`` belongs to ``y[0]``, at the bottom.
    points : ndarray of shape (n, 2), default=None
        Coordinates of rows of data on the plane.
    labels : ndarray of shape (n,), default=None
        Their classes, or a number for each.
    axis_names : tuple of str, default=("component 1", "component 2")
        What the axes are called.
    value_range : tuple of float (low, high), default=None
        The values drawn black and white, or lowest and highest; None takes the
        extremes of `cells`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage or None
        The whole grid, where it is of images.
    lines_ : matplotlib LineCollection or None
        The whole grid, where it is not.
    shown_ : ndarray of shape (n_rows, n_columns), bool
        Which cells are drawn.
    scatters_ : list of matplotlib PathCollection
        One for each class of the points that are drawn over the grid.
    legend_ : matplotlib Legend or None

    Examples
    --------
    >>> from manifoldgen import LatentGridDisplay
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, _ = load_digits(return_X_y=True)
    >>> pca = PCA(2).fit(X)
    >>> display = LatentGridDisplay.from_estimator(
    ...     pca, X, n_rows=5, n_columns=6, image_shape=(8, 8)
    ... )
    >>> display.cells.shape
    (5, 6, 8, 8)
    """

    def __init__(
        self,
        *,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        cells: NDArray[Any],
        points: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
        axis_names: tuple[str, str] = ("component 1", "component 2"),
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.x = x
        self.y = y
        self.cells = cells
        self.points = points
        self.labels = labels
        self.axis_names = axis_names
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        n_rows: int = 15,
        n_columns: int = 15,
        components: tuple[int, int] = (0, 1),
        quantiles: tuple[float, float] = (0.02, 0.98),
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "LatentGridDisplay":
        """Decode a grid over the latent plane of a fitted manifold.

        Parameters
        ----------
        estimator : manifold or Pipeline, fitted
            With `transform` and `inverse_transform`; a last step of a Pipeline that
            only generates is left out.
        X : array-like of shape (n, n_features) or images, default=None
            Rows whose coordinates say where the grid lies, and whose values what is
            black and white. None takes the `embedding_` that the estimator holds.
        y : array-like of shape (n,), default=None
            Classes or numbers to colour the points by, where they are drawn.
        n_rows, n_columns : int, default=15
            Places along either axis; >= 2.
        components : tuple of int, default=(0, 1)
            Which components go to the right and up. All others have their median.
        quantiles : tuple of float, default=(0.02, 0.98)
            Of the coordinates of `X`, where each axis begins and ends.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `inverse_transform` gives images or a
            step knows their shape; other rows are drawn as lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : LatentGridDisplay

        Raises
        ------
        TypeError
            If `estimator` cannot go there and back.
        ValueError
            If there is no `X` and no `embedding_`, fewer than 2 components, or a
            parameter outside its range.
        """
        n_rows, n_columns = (
            check_int(name, value, 2)
            for name, value in (("n_rows", n_rows), ("n_columns", n_columns))
        )
        quantiles = check_quantiles(quantiles)
        Z, manifold = coordinates_of(estimator, X)
        components = _check_components(components, Z.shape[1])
        labels = None if y is None else np.asarray(y)
        if labels is not None and labels.shape != (len(Z),):
            raise ValueError(
                f"y must have one label for each of the {len(Z)} rows, got shape "
                f"{labels.shape}."
            )
        across, up, latents = grid_over(Z, n_rows, n_columns, components, quantiles)
        cells = decode_cells(manifold, latents, image_shape)
        images = cells.ndim > 3 and X is not None
        display = cls(
            x=across,
            y=up,
            cells=cells,
            points=Z[:, list(components)],
            labels=labels,
            axis_names=tuple(f"component {k + 1}" for k in components),  # type: ignore[arg-type]
            value_range=value_range_of(rows_of(X)) if images else None,
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        points: bool = False,
        mask_empty: bool = False,
        legend: bool = True,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> "LatentGridDisplay":
        """Draw the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure of a size that suits the grid.
        points : bool, default=False
            Draw rows of data over it, at most 500 of them.
        mask_empty : bool, default=False
            Leave out the cells that have no row of data, as seen on this plane, as
            near as the next cell: what stands there is made up.
        legend : bool, default=True
            Name the classes of the points beside the grid.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.
        line_kwargs : dict, default=None
            Handed to `LineCollection`.
        scatter_kwargs : dict, default=None
            Handed to `Axes.scatter`.

        Returns
        -------
        self : LatentGridDisplay

        Raises
        ------
        ValueError
            If `points` or `mask_empty` are asked for and the display has no points.
        """
        if (points or mask_empty) and self.points is None:
            raise ValueError(
                "points must be given to the display to be drawn, or to tell which "
                "cells are empty, got None."
            )
        x, y = np.asarray(self.x), np.asarray(self.y)
        cells = np.asarray(self.cells)
        self.shown_ = np.ones(cells.shape[:2], dtype=bool)
        if mask_empty:
            self.shown_ = near_points(x, y, np.asarray(self.points))
        images = cells.ndim > 3
        gap = gap_between(cells) if images else 0
        tile = cells.shape[-2] + gap, cells.shape[-1] + gap
        if not images:
            tile = LINE_TILE
        size = _figure_size(len(x) * tile[1], len(y) * tile[0])
        self.figure_, self.ax_ = figure_and_axes(ax, size, "LatentGridDisplay.plot")
        self._plot_points(points, legend, scatter_kwargs)
        self.image_: Any = None
        self.lines_: Any = None
        if images:
            self._plot_images(cells, x, y, gap, im_kwargs)
        else:
            self._plot_lines(cells, x, y, line_kwargs)
        self._set_axes(x, y, tile)
        return self

    def _plot_points(
        self, points: bool, legend: bool, given: dict[str, Any] | None
    ) -> None:
        self.scatters_: list[Any] = []
        self.legend_: Any = None
        if not points or self.points is None:
            return
        some = slice(None, None, -(-len(self.points) // MAX_POINTS))
        labels = None if self.labels is None else self.labels[some]
        over = EmbeddingDisplay(embedding=self.points[some], labels=labels)
        defaults = {"s": 14, "alpha": 1.0, "linewidths": 0.5, "edgecolors": "white"}
        if labels is None:
            defaults["color"] = PALETTE[1]
        kwargs = merged({**defaults, "zorder": 2}, given)
        over.plot(self.ax_, legend=legend, scatter_kwargs=kwargs)
        self.scatters_, self.legend_ = over.scatters_, over.legend_

    def _plot_images(
        self,
        cells: NDArray[Any],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        gap: int,
        given: dict[str, Any] | None,
    ) -> None:
        value_range = self.value_range or value_range_of(cells)
        picture = picture_of(cells[::-1], value_range, gap, self.shown_[::-1])
        height, width = cells.shape[-2:]
        defaults = {
            "cmap": "gray",
            "vmin": 0.0,
            "vmax": 1.0,
            "interpolation": "nearest",
            "extent": (*_ends(x, width, gap), *_ends(y, height, gap)),
        }
        self.image_ = self.ax_.imshow(picture, **merged(defaults, given))

    def _plot_lines(
        self,
        cells: NDArray[Any],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        given: dict[str, Any] | None,
    ) -> None:
        value_range = self.value_range or value_range_of(cells)
        across, up = (places[self.shown_] for places in np.meshgrid(x, y))
        cell = (x[1] - x[0], y[1] - y[0])
        lines = lines_of(cells[self.shown_], across, up, cell, value_range)
        self.lines_ = add_lines(self.ax_, lines, given)

    def _set_axes(
        self, x: NDArray[np.float64], y: NDArray[np.float64], tile: tuple[int, int]
    ) -> None:
        quiet(self.ax_)
        self.ax_.spines[:].set_visible(False)
        self.ax_.set_xlim(_ends(x, 1, 0))
        self.ax_.set_ylim(_ends(y, 1, 0))
        # square pixels in the picture, whatever the units of the components
        units_per_pixel = (x[1] - x[0]) / tile[1], (y[1] - y[0]) / tile[0]
        self.ax_.set_aspect(units_per_pixel[0] / units_per_pixel[1], adjustable="box")
        self.ax_.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])


def _ends(places: NDArray[np.float64], size: int, gap: int) -> tuple[float, float]:
    """Return where cells of `size` pixels, `gap` apart, centred on places, end."""
    half = (places[1] - places[0]) * size / (size + gap) / 2
    return float(places[0] - half), float(places[-1] + half)


def _figure_size(width: float, height: float) -> tuple[float, float]:
    """Return inches for a picture whose longer side is `GRID_INCHES`, and its axes."""
    longer = max(width, height)
    return GRID_INCHES * width / longer + 0.8, GRID_INCHES * height / longer + 0.6
