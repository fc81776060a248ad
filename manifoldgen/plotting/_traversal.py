"""Decoded paths through latent space, one a row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._validation import check_int
from ..latent import coordinates, invertible_part, latent_paths
from ._cells import (
    add_lines,
    check_quantiles,
    coordinates_of,
    decode_cells,
    lines_of,
    picture_of,
)
from ._estimators import rows_of
from ._images import MAX_COLUMNS, TILE_INCHES, gap_between, value_range_of
from ._style import INK, figure_and_axes, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def paths_along(
    Z: NDArray[Any],
    components: Sequence[int],
    levels: NDArray[np.float64],
    start: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Return a path for each component, along which it alone changes.

    Parameters
    ----------
    Z : ndarray of shape (n, n_components)
        Where the data lie.
    components : sequence of int
    levels : ndarray of shape (n_steps,)
        Quantiles of the component that a path goes through, in [0, 1].
    start : ndarray of shape (1, n_components), default=None
        Values of the components that do not change; None is their median.

    Returns
    -------
    latents : ndarray of shape (len(components), n_steps, n_components), float64
    """
    Z = Z.astype(np.float64)
    rest = np.median(Z, axis=0) if start is None else start.astype(np.float64)
    latents = np.tile(rest, (len(components), len(levels), 1))
    for path, component in zip(latents, components, strict=True):
        path[:, component] = np.quantile(Z[:, component], levels)
    return latents


class TraversalDisplay:
    """Rows of what a manifold makes of paths through its latent space.

    Rows of data that are no images are drawn as lines, value by value from left to
    right, all on one scale.

    Parameters
    ----------
    cells : ndarray of shape (n_paths, n_steps, H, W), (n_paths, n_steps, 3, H, W) or \
(n_paths, n_steps, n_features)
        What is at each step of each path.
    latents : ndarray of shape (n_paths, n_steps, n_components), default=None
        Where that is.
    path_names : sequence of str, default=()
        What the rows are called, from above.
    step_names : sequence of str, default=()
        What the columns are called.
    step_axis : str, default=""
        What the columns are, together.
    value_range : tuple of float (low, high), default=None
        The values drawn black and white, or lowest and highest; None takes the
        extremes of `cells`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage or None
        All paths, where they are of images.
    lines_ : matplotlib LineCollection or None
        All paths, where they are not.

    Examples
    --------
    >>> from manifoldgen import TraversalDisplay
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, _ = load_digits(return_X_y=True)
    >>> pca = PCA(4).fit(X)
    >>> display = TraversalDisplay.from_estimator(pca, X, image_shape=(8, 8))
    >>> display.cells.shape
    (4, 9, 8, 8)
    >>> display = TraversalDisplay.from_interpolation(
    ...     pca, X[:2], X[2:4], n=5, image_shape=(8, 8)
    ... )
    >>> display.cells.shape
    (2, 5, 8, 8)
    """

    def __init__(
        self,
        *,
        cells: NDArray[Any],
        latents: NDArray[Any] | None = None,
        path_names: Sequence[str] = (),
        step_names: Sequence[str] = (),
        step_axis: str = "",
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.cells = cells
        self.latents = latents
        self.path_names = path_names
        self.step_names = step_names
        self.step_axis = step_axis
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        row: Any = None,
        n: int = 9,
        components: Sequence[int] | None = None,
        quantiles: tuple[float, float] = (0.02, 0.98),
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "TraversalDisplay":
        """Draw what each latent component does, the others held where they are.

        Parameters
        ----------
        estimator : manifold or Pipeline, fitted
            With `transform` and `inverse_transform`; a last step of a Pipeline that
            only generates is left out.
        X : array-like of shape (n_samples, n_features) or images, default=None
            Rows whose coordinates say how far a component goes, and whose values what
            is black and white. None takes the `embedding_` that the estimator holds.
        row : array-like of shape (n_features,) or an image, default=None
            The row whose components are varied. None is the median of each component.
        n : int, default=9
            Steps on each path; >= 2.
        components : sequence of int, default=None
            Which are varied; None is all, at most the first 12.
        quantiles : tuple of float, default=(0.02, 0.98)
            Of the component, where a path begins and ends. The quantiles of its steps
            are evenly spread.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `inverse_transform` gives images or a
            step knows their shape; other rows are drawn as lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : TraversalDisplay

        Raises
        ------
        TypeError
            If `estimator` cannot go there and back.
        ValueError
            If there is no `X` and no `embedding_`, `row` is not one row, or a
            parameter is outside its range.
        """
        levels = np.linspace(*check_quantiles(quantiles), check_int("n", n, 2))
        Z, manifold = coordinates_of(estimator, X)
        components = _check_components(components, Z.shape[1])
        start = None if row is None else coordinates(manifold, row)[0]
        if start is not None and len(start) != 1:
            raise ValueError(f"row must be one row of data, got {len(start)}.")
        latents = paths_along(Z, components, levels, start)
        cells = decode_cells(manifold, latents, image_shape)
        images = cells.ndim > 3 and X is not None
        display = cls(
            cells=cells,
            latents=latents,
            path_names=[f"component {k + 1}" for k in components],
            step_names=[f"{100 * level:.0f}" for level in levels],
            step_axis="quantile of the component (%)",
            value_range=value_range_of(rows_of(X)) if images else None,
        )
        return display.plot(**plot_kwargs)

    @classmethod
    def from_interpolation(
        cls,
        estimator: Any,
        a: Any,
        b: Any,
        *,
        n: int = 9,
        method: str = "linear",
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "TraversalDisplay":
        """Draw the path between two rows of data, or between several pairs of rows.

        Parameters
        ----------
        estimator : manifold or Pipeline, fitted
            With `transform` and `inverse_transform`; a last step of a Pipeline that
            only generates is left out.
        a, b : array-like of shape (n_features,), an image as `fit` saw it, or several
            The two ends, or those of several paths, as `interpolate` takes them.
        n : int, default=9
            Steps on a path, both ends included; >= 2.
        method : {"linear", "spherical"}, default="linear"
            As in `interpolate_latents`.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `inverse_transform` gives images or a
            step knows their shape; other rows are drawn as lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : TraversalDisplay

        Raises
        ------
        TypeError
            If `estimator` cannot go there and back.
        ValueError
            If `a` and `b` differ in shape, ``n < 2``, or `method` is unknown.
        """
        manifold = invertible_part(estimator)
        latents, _ = latent_paths(manifold, a, b, n, method)
        cells = decode_cells(manifold, latents, image_shape)
        ends = np.stack([np.asarray(a), np.asarray(b)])
        display = cls(
            cells=cells,
            latents=latents,
            step_names=["a", *[""] * (latents.shape[1] - 2), "b"],
            step_axis=f"{method} path from a to b",
            value_range=value_range_of(ends) if cells.ndim > 3 else None,
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> "TraversalDisplay":
        """Draw the paths.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure of a size that suits the grid.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.
        line_kwargs : dict, default=None
            Handed to `LineCollection`.

        Returns
        -------
        self : TraversalDisplay
        """
        cells = np.asarray(self.cells)
        images = cells.ndim > 3
        # a cell of a line is counted in units of its height
        height, width = cells.shape[-2:] if images else (1.0, 1.5)
        gap = gap_between(cells) if images else 0
        lefts = np.arange(cells.shape[1]) * (width + gap)
        tops = np.arange(cells.shape[0]) * (height + gap)
        size = _figure_size(
            lefts[-1] + width, tops[-1] + height, width, self.path_names
        )
        self.figure_, self.ax_ = figure_and_axes(
            ax, size, "TraversalDisplay.plot", layout="compressed"
        )
        self.image_: Any = None
        self.lines_: Any = None
        value_range = self.value_range or value_range_of(cells)
        if images:
            picture = picture_of(cells, value_range, gap)
            defaults = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0}
            kwargs = merged({**defaults, "interpolation": "nearest"}, im_kwargs)
            self.image_ = self.ax_.imshow(picture, **kwargs)
            offset = 0.5
        else:
            self._plot_lines(
                cells, lefts, tops, (width, height), value_range, line_kwargs
            )
            offset = 0.0
        self._name_axes(lefts + width / 2 - offset, tops + height / 2 - offset)
        return self

    def _plot_lines(
        self,
        cells: NDArray[Any],
        lefts: NDArray[np.float64],
        tops: NDArray[np.float64],
        cell: tuple[float, float],
        value_range: tuple[float, float],
        given: dict[str, Any] | None,
    ) -> None:
        width, height = cell
        x, y = (part.ravel() for part in np.meshgrid(lefts, tops))
        values = cells.reshape(len(x), -1)
        downwards = (width, -height)  # of the axis: its rows begin at the top
        lines = lines_of(values, x + width / 2, y + height / 2, downwards, value_range)
        self.lines_ = add_lines(self.ax_, lines, given)
        self.ax_.set_xlim(0.0, lefts[-1] + width)
        self.ax_.set_ylim(tops[-1] + height, 0.0)

    def _name_axes(
        self, across: NDArray[np.float64], down: NDArray[np.float64]
    ) -> None:
        self.ax_.spines[:].set_visible(False)
        self.ax_.tick_params(length=0, labelcolor=INK)
        self.ax_.set_xticks(across if len(self.step_names) else [], self.step_names)
        self.ax_.set_yticks(down if len(self.path_names) else [], self.path_names)
        self.ax_.set_xlabel(self.step_axis)


def _check_components(components: Any, n_components: int) -> list[int]:
    if components is None:
        return list(range(min(n_components, MAX_COLUMNS)))
    if np.ndim(components) != 1 or not len(components):
        raise ValueError(
            f"components must be None or name at least one, got {components!r}."
        )
    return [check_int("components", k, 0, n_components - 1) for k in components]


def _figure_size(
    width: float, height: float, cell_width: float, names: Sequence[str]
) -> tuple[float, float]:
    """Return inches for a grid in which a cell is as wide as in any other picture."""
    scale = min(TILE_INCHES / cell_width, 11 / width, 11 / height)
    margin = 0.2 + 0.09 * max((len(name) for name in names), default=0)
    return max(1.5, width * scale) + margin, max(0.5, height * scale) + 0.6
