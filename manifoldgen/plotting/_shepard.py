"""Distances in a map against distances in the data."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from .._validation import check_int
from ..metrics import shepard_pairs
from ._estimators import latents_of
from ._style import INK, PALETTE, figure_and_axes, merged, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BINS = 60
MEDIAN_BINS = 20
# Below that many pairs in a bin a median says little.
MEDIAN_PAIRS = 10


def medians_over(
    across: NDArray[Any], up: NDArray[Any], n_bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the median of `up` in even bins of `across`.

    Parameters
    ----------
    across, up : ndarray of shape (n,)
    n_bins : int

    Returns
    -------
    centers : ndarray of shape (n_used,), float64
        Of the bins that hold at least 10 values, rising.
    medians : ndarray of shape (n_used,), float64
    """
    edges = np.linspace(across.min(), across.max(), n_bins + 1)
    bins = np.clip(np.searchsorted(edges, across, side="right") - 1, 0, n_bins - 1)
    order = np.argsort(bins, kind="stable")
    parts = np.split(up[order], np.searchsorted(bins[order], np.arange(1, n_bins)))
    used = [k for k, part in enumerate(parts) if len(part) >= MEDIAN_PAIRS]
    centers = (edges[:-1] + edges[1:]) / 2
    return centers[used], np.array([np.median(parts[k]) for k in used])


class ShepardDisplay:
    """How far pairs of rows are apart in a map, over how far they are in the data.

    A map that keeps distances gives a rising line, one that keeps their order alone a
    rising curve. A cloud that is wide at small distances in the data means torn
    neighbourhoods, one that is wide at small distances in the map means rows that
    were laid over each other.

    Parameters
    ----------
    distances_X : ndarray of shape (n_pairs,)
        Distances in the data, in its units.
    distances_Z : ndarray of shape (n_pairs,)
        Distances of the same pairs in the map.
    correlation : float, default=None
        Spearman's, which the title tells; None leaves it out.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib QuadMesh
        Pairs in each bin.
    median_ : matplotlib Line2D
        Median distance in the map, where at least 10 pairs tell it.
    colorbar_ : matplotlib Colorbar

    See Also
    --------
    manifoldgen.metrics.shepard_correlation : The figure in the title.

    References
    ----------
    .. [1] R. N. Shepard, "The analysis of proximities: multidimensional scaling with
       an unknown distance function", Psychometrika 27, 1962.

    Examples
    --------
    >>> from manifoldgen import ShepardDisplay
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, _ = load_digits(return_X_y=True)
    >>> display = ShepardDisplay.from_estimator(PCA(2).fit(X), X)
    >>> round(display.correlation, 1)
    0.6
    """

    def __init__(
        self,
        *,
        distances_X: NDArray[np.float64],
        distances_Z: NDArray[np.float64],
        correlation: float | None = None,
    ) -> None:
        self.distances_X = distances_X
        self.distances_Z = distances_Z
        self.correlation = correlation

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_pairs: int = 10_000,
        random_state: Any = 0,
        **plot_kwargs: Any,
    ) -> "ShepardDisplay":
        """Compare rows with the coordinates that a fitted estimator gives them.

        Parameters
        ----------
        estimator : manifold or Pipeline, fitted
            With `transform`; a last step of a Pipeline that only generates is left
            out. One that has only `embedding_` takes the rows it was fitted on.
        X : array-like of shape (n, n_features) or images
        n_pairs : int, default=10,000
            How many pairs of rows are drawn; all there are where that is fewer.
        random_state : int, RandomState or None, default=0
            Draws the pairs.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ShepardDisplay

        Raises
        ------
        TypeError
            If `estimator` gives no coordinates.
        ValueError
            If `X` has too few rows for a pair.
        """
        latents, _ = latents_of(estimator, X)
        return cls.from_latents(
            X, latents, n_pairs=n_pairs, random_state=random_state, **plot_kwargs
        )

    @classmethod
    def from_latents(
        cls,
        X: Any,
        Z: Any,
        *,
        n_pairs: int = 10_000,
        random_state: Any = 0,
        **plot_kwargs: Any,
    ) -> "ShepardDisplay":
        """Compare rows with coordinates that are here already.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or images
        Z : array-like of shape (n, n_components)
        n_pairs : int, default=10,000
            How many pairs of rows are drawn; all there are where that is fewer.
        random_state : int, RandomState or None, default=0
            Draws the pairs.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ShepardDisplay

        Raises
        ------
        ValueError
            If `X` and `Z` differ in length, or have too few rows for a pair.
        """
        far, up = shepard_pairs(X, Z, n_pairs=n_pairs, random_state=random_state)
        spread = min(np.ptp(far), np.ptp(up)) > 0  # equal distances have no order
        correlation = float(spearmanr(far, up).statistic) if spread else 0.0
        display = cls(distances_X=far, distances_Z=up, correlation=correlation)
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        n_bins: int | None = None,
        mesh_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> "ShepardDisplay":
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        n_bins : int, default=None
            Bins along either axis; None is half the square root of the number of
            pairs, between 10 and 60.
        mesh_kwargs : dict, default=None
            Handed to `Axes.pcolormesh`.
        line_kwargs : dict, default=None
            Handed to `Axes.plot`, for the line of medians.

        Returns
        -------
        self : ShepardDisplay
        """
        self.figure_, self.ax_ = figure_and_axes(ax, (5.6, 4.4), "ShepardDisplay.plot")
        far, up = np.asarray(self.distances_X), np.asarray(self.distances_Z)
        if n_bins is None:
            n_bins = int(np.clip(np.sqrt(len(far)) / 2, 10, MAX_BINS))
        n_bins = check_int("n_bins", n_bins)
        counts, x_edges, y_edges = np.histogram2d(far, up, bins=n_bins)
        defaults = {"cmap": "Blues", "vmin": 0.0, "rasterized": True}
        self.image_ = self.ax_.pcolormesh(
            x_edges,
            y_edges,
            np.ma.masked_equal(counts.T, 0),
            **merged(defaults, mesh_kwargs),
        )
        self.colorbar_ = self.figure_.colorbar(self.image_, ax=self.ax_)
        self.colorbar_.outline.set_visible(False)
        self.colorbar_.set_label("pairs")
        style = {"color": PALETTE[6], "linewidth": 1.8, "label": "median"}
        centers, medians = medians_over(far, up, min(n_bins, MEDIAN_BINS))
        kwargs = merged(style, line_kwargs)
        (self.median_,) = self.ax_.plot(centers, medians, **kwargs)
        if len(medians):
            self.ax_.legend(frameon=False, loc="upper left")
        self._name_axes()
        return self

    def _name_axes(self) -> None:
        quiet(self.ax_)
        self.ax_.set_xlim(left=0.0)
        self.ax_.set_ylim(bottom=0.0)
        self.ax_.set(xlabel="distance in the data", ylabel="distance in the map")
        if self.correlation is not None:
            title = f"Spearman correlation {self.correlation:.2f}"
            self.ax_.set_title(title, fontsize="medium", color=INK)
