"""A map of latent space."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import gaussian_kde

from ._estimators import latents_of
from ._style import (
    MAX_CLASSES,
    PALETTE,
    class_styles,
    figure_and_axes,
    is_categorical,
    merged,
    quiet,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONTOUR_SHARES = (0.5, 0.9)
CONTOUR_POINTS = 1000
DENSITY_SHARES = (0.2, 0.4, 0.6, 0.8, 0.95)
DENSITY_SIDE = 200  # places of the grid along each axis
DENSITY_REACH = 0.08  # beyond the points, in units of their range
RASTER_POINTS = 5000


def principal_plane(
    Z: NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of `Z` on its first two principal axes.

    Parameters
    ----------
    Z : ndarray of shape (n, n_components), n_components >= 2

    Returns
    -------
    plane : ndarray of shape (n, 2), float64
        Centred; the largest loading of each axis is positive.
    share : ndarray of shape (2,), float64
        Share of the total variance along each axis.
    """
    centered = Z.astype(np.float64) - Z.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centered.T @ centered)
    axes = axes[:, ::-1][:, :2]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, [0, 1]])
    total = variances.sum()
    share = variances[::-1][:2] / (total if total > 0 else 1.0)
    return centered @ axes, share


def density_levels(
    density: NDArray[np.float64], shares: tuple[float, ...] = CONTOUR_SHARES
) -> NDArray[np.float64]:
    """Return the densities above which the given shares of the points lie, rising."""
    return np.unique(np.quantile(density, [1.0 - share for share in shares]))


class Density(NamedTuple):
    """A density on a grid of the plane, and at the points it was estimated from."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    heights: NDArray[np.float64]
    at_points: NDArray[np.float64]


def binned_density(points: NDArray[Any], bandwidth: float) -> Density | None:
    """Estimate the density of any number of points in the plane.

    A Gaussian kernel on the counts of a grid, which costs little more for 60,000
    points than for 100.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
    bandwidth : float
        Standard deviation of the kernel along each axis, in standard deviations of
        the points; at least one place of the grid.

    Returns
    -------
    density : Density or None
        `heights` of shape (200, 200), one row for each `y`, integrates to 1. None for
        fewer than 10 points, and where either coordinate is constant.
    """
    points = points.astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    if len(points) < 10 or not np.all(points.std(axis=0) > 1e-9 * np.abs(points).max()):
        return None
    margin = DENSITY_REACH * (high - low)
    step = (high - low + 2 * margin) / DENSITY_SIDE
    places = ((points - (low - margin)) / step).astype(np.intp)
    flat = places[:, 1] * DENSITY_SIDE + places[:, 0]
    counts = np.bincount(flat, minlength=DENSITY_SIDE**2).astype(np.float64)
    sigma = np.maximum(bandwidth * points.std(axis=0) / step, 1.0)
    grid = counts.reshape(DENSITY_SIDE, DENSITY_SIDE)
    heights = gaussian_filter(grid, sigma[::-1], mode="constant")
    heights /= len(points) * step.prod()
    x, y = (low - margin + (np.arange(DENSITY_SIDE)[:, None] + 0.5) * step).T
    return Density(x, y, heights, heights.ravel()[flat])


class EmbeddingDisplay:
    """Rows as points in the plane of their latent coordinates, coloured by label.

    Parameters
    ----------
    embedding : ndarray of shape (n, 1) or (n, 2)
        One column is drawn as a strip, in which height means nothing.
    labels : ndarray of shape (n,), default=None
        Classes (up to 20 have a colour and a shape of their own in a legend), or a
        number for each row, drawn as a colour scale.
    axis_names : tuple of str, default=("component 1", "component 2")
        What the axes are called.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    scatters_ : list of matplotlib PathCollection
        One for each class, else one.
    contours_ : list of matplotlib ContourSet
        One for each class that has any.
    density_ : matplotlib ContourSet or None
        The filled levels under the points.
    legend_ : matplotlib Legend or None
    colorbar_ : matplotlib Colorbar or None

    Examples
    --------
    >>> from manifoldgen import EmbeddingDisplay
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_iris(return_X_y=True)
    >>> display = EmbeddingDisplay.from_estimator(PCA(3).fit(X), X, y=y)
    >>> display.ax_.get_xlabel()
    'principal axis 1 (93 % of variance)'
    """

    def __init__(
        self,
        *,
        embedding: NDArray[Any],
        labels: NDArray[Any] | None = None,
        axis_names: tuple[str, str] = ("component 1", "component 2"),
    ) -> None:
        self.embedding = embedding
        self.labels = labels
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any = None, **plot_kwargs: Any
    ) -> "EmbeddingDisplay":
        """Draw the latent coordinates that a fitted estimator gives to `X`.

        More than two components are shown on their first two principal axes, named
        with the share of the variance that each carries.

        Parameters
        ----------
        estimator : manifold or Pipeline, fitted
            With `transform`; a last step of a Pipeline that only generates is left
            out. One that has only `embedding_` takes the rows it was fitted on.
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,), default=None
            Classes or numbers to colour by.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        TypeError
            If `estimator` gives no coordinates.
        ValueError
            If `y` has another length than `X`, or too many classes.
        """
        latents, _ = latents_of(estimator, X)
        return cls.from_latents(latents, y=y, **plot_kwargs)

    @classmethod
    def from_latents(
        cls, Z: Any, *, y: Any = None, **plot_kwargs: Any
    ) -> "EmbeddingDisplay":
        """Draw latent coordinates that are here already.

        Parameters
        ----------
        Z : array-like of shape (n, n_components)
        y : array-like of shape (n,), default=None
            Classes or numbers to colour by.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ValueError
            If `y` has another length than `Z` or too many classes, or `Z` is not
            two-dimensional.
        """
        embedding = np.asarray(Z)
        if embedding.ndim != 2:
            raise ValueError(
                f"Z must have shape (n, n_components), got {embedding.shape}."
            )
        labels = None if y is None else np.asarray(y)
        if labels is not None and labels.shape != (len(embedding),):
            raise ValueError(
                f"y must have one label for each of the {len(embedding)} rows, got "
                f"shape {labels.shape}."
            )
        names = ("component 1", "component 2")
        if embedding.shape[1] > 2:
            embedding, share = principal_plane(embedding)
            names = tuple(  # type: ignore[assignment]
                f"principal axis {k + 1} ({100 * share[k]:.0f} % of variance)"
                for k in range(2)
            )
        display = cls(embedding=embedding, labels=labels, axis_names=names)
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        contours: bool = False,
        density: bool = False,
        legend: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
        contour_kwargs: dict[str, Any] | None = None,
        density_kwargs: dict[str, Any] | None = None,
    ) -> "EmbeddingDisplay":
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        contours : bool, default=False
            Draw around each class where its density is highest: lines that hold
            half and nine tenths of its points, by a Gaussian kernel estimate.
        density : bool, default=False
            Shade the map in grey where rows of any class lie densely: levels that
            hold 20, 40, 60, 80 and 95 % of them, by a Gaussian kernel estimate. The
            points are drawn smaller. A strip has no density.
        legend : bool, default=True
            Name the classes beside the map.
        scatter_kwargs : dict, default=None
            Handed to `Axes.scatter`.
        contour_kwargs : dict, default=None
            Handed to `Axes.contour`.
        density_kwargs : dict, default=None
            Handed to `Axes.contourf`.

        Returns
        -------
        self : EmbeddingDisplay
        """
        points, strip = _as_points(np.asarray(self.embedding))
        size = (7.4, 2.8) if strip else (6.4, 5.2)
        self.figure_, self.ax_ = figure_and_axes(ax, size, "EmbeddingDisplay.plot")
        self.scatters_: list[Any] = []
        self.contours_: list[Any] = []
        self.legend_: Any = None
        self.colorbar_: Any = None
        self.density_: Any = None
        if density and not strip:
            self._plot_density(points, density_kwargs)
        defaults = _point_style(len(points))
        if self.density_ is not None:  # which is seen between points alone
            defaults.update(s=0.5 * defaults["s"], alpha=0.8 * defaults["alpha"])
        labels = None if self.labels is None else np.asarray(self.labels)
        if labels is not None and not is_categorical(labels):
            self._plot_scale(points, labels, merged(defaults, scatter_kwargs))
        else:
            for rows, style in _groups(labels, len(points)):
                kwargs = merged({**defaults, **style}, scatter_kwargs)
                self.scatters_.append(self.ax_.scatter(*points[rows].T, **kwargs))
                if contours and not strip:
                    self._plot_contours(points[rows], style["color"], contour_kwargs)
        if labels is not None and legend and self.colorbar_ is None:
            self._plot_legend()
        self._name_axes(strip)
        return self

    def _plot_scale(
        self, points: NDArray[Any], values: NDArray[Any], kwargs: dict[str, Any]
    ) -> None:
        if values.dtype.kind not in "iuf":
            raise ValueError(
                f"y must have at most {MAX_CLASSES} classes to be told apart, or be "
                f"numbers for a colour scale, got {len(np.unique(values))} classes."
            )
        kwargs = {"cmap": "viridis", "c": values, **kwargs}
        self.scatters_.append(self.ax_.scatter(*points.T, **kwargs))
        self.colorbar_ = self.figure_.colorbar(self.scatters_[0], ax=self.ax_)
        self.colorbar_.outline.set_visible(False)
        self.colorbar_.solids.set_alpha(1.0)

    def _plot_contours(
        self, points: NDArray[Any], color: str, given: dict[str, Any] | None
    ) -> None:
        # A kernel estimate needs points that span the plane.
        if len(points) < 10 or np.linalg.matrix_rank(np.cov(points.T)) < 2:
            return
        some = points[:: -(-len(points) // CONTOUR_POINTS)]
        estimate = gaussian_kde(some.T)
        low, high = points.min(axis=0), points.max(axis=0)
        margin = 0.25 * (high - low)
        x, y = (
            np.linspace(low[k] - margin[k], high[k] + margin[k], 80) for k in range(2)
        )
        density = estimate(np.array(np.meshgrid(x, y)).reshape(2, -1)).reshape(80, 80)
        defaults = {"colors": [color], "linewidths": 1.0, "alpha": 0.8}
        kwargs = merged(defaults, given)
        levels = density_levels(estimate(some.T))
        self.contours_.append(self.ax_.contour(x, y, density, levels=levels, **kwargs))

    def _plot_density(self, points: NDArray[Any], given: dict[str, Any] | None) -> None:
        # Scott's rule is meant for one hill: a map of classes has several
        bandwidth = 0.4 * len(points) ** (-1 / 6)
        density = binned_density(points, bandwidth)
        if density is None:
            return
        levels = density_levels(density.at_points, DENSITY_SHARES)
        greys = [str(grey) for grey in np.linspace(0.93, 0.66, len(levels))]
        defaults = {"colors": greys, "levels": levels, "extend": "max", "zorder": 0}
        kwargs = merged(defaults, given)
        self.density_ = self.ax_.contourf(*density[:3], **kwargs)

    def _plot_legend(self) -> None:
        self.legend_ = self.ax_.legend(
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            handletextpad=0.2,
            borderaxespad=0.3,
            ncols=2 if len(self.scatters_) > 14 else 1,
        )
        for handle in self.legend_.legend_handles:
            handle.set(alpha=1.0, sizes=[36])

    def _name_axes(self, strip: bool) -> None:
        quiet(self.ax_)
        self.ax_.set_xlabel(self.axis_names[0])
        if strip:
            self.ax_.set_yticks([])
            self.ax_.spines["left"].set_visible(False)
        else:
            self.ax_.set_ylabel(self.axis_names[1])
            self.ax_.set_aspect("equal", adjustable="datalim")


def _as_points(embedding: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Return points of the plane; one column gets heights that mean nothing."""
    if embedding.shape[1] > 1:
        return embedding[:, :2], False
    heights = np.random.default_rng(0).uniform(size=len(embedding))
    return np.column_stack([embedding[:, 0], heights]), True


def _point_style(n_points: int) -> dict[str, Any]:
    """Return size and opacity that let 100 points be seen and 10,000 be told apart.

    Many points are drawn as pixels in a file of vectors too, which stays small.
    """
    size = float(np.clip(14000 / max(n_points, 1), 2, 30))
    alpha = float(np.clip(2000 / max(n_points, 1), 0.4, 0.85))
    many = n_points > RASTER_POINTS
    return {"s": size, "alpha": alpha, "linewidths": 0, "rasterized": many}


def _groups(
    labels: NDArray[Any] | None, n_points: int
) -> list[tuple[Any, dict[str, Any]]]:
    """Return the rows of each class with its colour, shape and name."""
    if labels is None:
        return [(slice(n_points), {"color": PALETTE[0]})]
    classes = np.unique(labels)
    return [
        (labels == label, {"color": color, "marker": marker, "label": str(label)})
        for label, (color, marker) in zip(
            classes, class_styles(len(classes)), strict=True
        )
    ]
