"""Lines of equal distance on a map of two latents."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .._validation import check_int, check_real
from ._embedding import EmbeddingDisplay
from ._scorers import answers_of, numbers_of, rows_of_scorer, scorer_of, threshold_of
from ._style import INK, figure_and_axes, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARES = (0.5, 0.9, 0.99)
MARGINS = (0.1, 0.25, 0.5, 1.0)  # of the range of the points, until lines close
BORDER_PLACES = 40


def share_levels(
    scores: NDArray[np.float64], shares: Sequence[float]
) -> NDArray[np.float64]:
    """Return the scores at and above which the given shares of the rows lie.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        High is normal.
    shares : sequence of float
        In (0, 1).

    Returns
    -------
    levels : ndarray of shape (n_shares,), float64

    Examples
    --------
    >>> share_levels(-np.arange(1.0, 11.0), [0.5, 0.9])
    array([-5., -9.])
    """
    rank = np.ceil(np.asarray(shares) * len(scores) - 1e-9).astype(int)
    return -np.sort(-scores)[rank - 1]


def step_levels(
    pvalues: NDArray[np.float64], wanted: Sequence[float]
) -> NDArray[np.float64]:
    """Return heights between p-values that are larger than those wanted or not.

    P-values by rank are steps: half-way up a step is where its line runs.

    Parameters
    ----------
    pvalues : ndarray
        At places of a map.
    wanted : sequence of float

    Returns
    -------
    levels : ndarray of shape (n_wanted,), float64

    Raises
    ------
    ValueError
        If there are no smaller or no larger p-values than one of them.

    Examples
    --------
    >>> step_levels(np.array([0.1, 0.2, 0.3, 0.3]), [0.2])
    array([0.25])
    """
    found = np.unique(pvalues)
    above = np.searchsorted(found, np.asarray(wanted) * (1 + 1e-9), side="right")
    for value, place in zip(wanted, above, strict=True):
        if not 0 < place < len(found):
            raise ValueError(
                f"pvalues must be among those of the map, from {found[0]:.3g} to "
                f"{found[-1]:.3g}, to have a line, got {value!r}. Smaller ones take "
                "more calibration rows."
            )
    levels: NDArray[np.float64] = (found[above - 1] + found[above]) / 2
    return levels


class DistanceContourDisplay:
    """Where on a map of two latents rows are equally far from the data, by a score.

    Lines around the points, each of one score, named by the share of the points inside
    or by the p-value there. Those of a `MahalanobisScorer` are ellipses.

    Parameters
    ----------
    x : ndarray of shape (n_x,)
    y : ndarray of shape (n_y,)
        Places of the grid, rising.
    heights : ndarray of shape (n_y, n_x)
        What is constant along a line: scores, or p-values; high is normal.
    levels : sequence of float
        The heights at which lines are drawn.
    names : sequence of str
        What each line is called.
    meaning : str, default="score"
        What the names of the lines tell.
    threshold : float, default=None
        The height below which rows are outliers, a dashed line.
    points : ndarray of shape (n, 2), default=None
    labels : ndarray of shape (n,), default=None
        Classes or numbers that colour the points.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    contours_ : matplotlib ContourSet
    threshold_ : matplotlib ContourSet or None
    scatters_ : list of matplotlib PathCollection
    legend_ : matplotlib Legend or None
    texts_ : list of matplotlib Text
        On the lines.

    Examples
    --------
    >>> from manifoldgen import DistanceContourDisplay, MahalanobisScorer
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> X, y = load_iris(return_X_y=True)
    >>> pipe = make_pipeline(PCA(2), MahalanobisScorer(random_state=0)).fit(X)
    >>> display = DistanceContourDisplay.from_estimator(pipe, X, y)
    >>> display.names
    ['50 %', '90 %', '99 %']
    """

    def __init__(
        self,
        *,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        heights: NDArray[np.float64],
        levels: Sequence[float],
        names: Sequence[str],
        meaning: str = "score",
        threshold: float | None = None,
        points: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
    ) -> None:
        self.x = x
        self.y = y
        self.heights = heights
        self.levels = levels
        self.names = names
        self.meaning = meaning
        self.threshold = threshold
        self.points = points
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        shares: Sequence[float] = SHARES,
        pvalues: Sequence[float] | None = None,
        n_places: int = 200,
        **plot_kwargs: Any,
    ) -> "DistanceContourDisplay":
        """Draw the score of a fitted estimator over the map that it is taken on.

        Parameters
        ----------
        estimator : scorer, Pipeline or search, fitted
            With `score_samples` of two columns: a scorer of latents, or a manifold of
            two components and a scorer.
        X : array-like of shape (n, 2), or rows that a Pipeline maps to such
            The points, which `shares` are those of.
        y : array-like of shape (n,), default=None
            Classes or numbers to colour by.
        shares : sequence of float, default=(0.5, 0.9, 0.99)
            Shares of the points that are to lie inside a line, in (0, 1).
        pvalues : sequence of float, default=None
            P-values of lines in their place, in (0, 1), for a scorer with `pvalue`.
        n_places : int, default=200
            Places of the grid along each axis, >= 2.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : DistanceContourDisplay

        Raises
        ------
        TypeError
            If `estimator` has no `score_samples`, or no `pvalue` where that is asked
            for.
        ValueError
            If the scorer takes other than two columns, a score is not finite, or a
            parameter is out of range.
        """
        head, scorer = scorer_of(estimator)
        points = np.asarray(rows_of_scorer(head, X))
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(
                "X must have two columns where the scorer is, to be drawn on a plane, "
                f"got shape {points.shape}. Fit the scorer on two latents."
            )
        by_pvalue = pvalues is not None
        name = "pvalues" if by_pvalue else "shares"
        wanted = _checked(name, shares if pvalues is None else pvalues)
        method = "pvalue" if by_pvalue else "score_samples"
        levels = np.asarray(wanted)
        if not by_pvalue:
            scores = numbers_of("scores", answers_of(scorer, method, points))
            levels = share_levels(scores, wanted)

        def of(places: NDArray[np.float64]) -> NDArray[np.float64]:
            return answers_of(scorer, method, places)

        n_places = check_int("n_places", n_places, 2)
        across, up = _reach(points, of, float(levels.min()), n_places)
        cells = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
        heights = of(cells).reshape(len(up), len(across))
        if by_pvalue:
            levels = step_levels(heights, wanted)
            # lines of steps would run along the sides of cells
            heights = gaussian_filter(heights, 1.0, mode="nearest")
        return cls(
            x=across,
            y=up,
            heights=heights,
            levels=levels.tolist(),
            names=[f"{it:g}" if by_pvalue else f"{100 * it:g} %" for it in wanted],
            meaning="p-value" if by_pvalue else "share of rows inside",
            threshold=None if by_pvalue else threshold_of(scorer),
            points=points,
            labels=None if y is None else np.asarray(y),
        ).plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        legend: bool = True,
        contour_kwargs: dict[str, Any] | None = None,
        scatter_kwargs: dict[str, Any] | None = None,
        text_kwargs: dict[str, Any] | None = None,
    ) -> "DistanceContourDisplay":
        """Draw the lines over the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        legend : bool, default=True
            Name classes and lines beside the map.
        contour_kwargs : dict, default=None
            Handed to `Axes.contour`.
        scatter_kwargs : dict, default=None
            Handed to `Axes.scatter`.
        text_kwargs : dict, default=None
            Handed to `Axes.clabel`.

        Returns
        -------
        self : DistanceContourDisplay
        """
        caller = "DistanceContourDisplay.plot"
        self.figure_, self.ax_ = figure_and_axes(ax, (7.2, 5.0), caller)
        self.scatters_: list[Any] = []
        if self.points is not None:
            points = np.asarray(self.points)
            labels = None if self.labels is None else np.asarray(self.labels)
            over = EmbeddingDisplay.from_latents(
                points,
                y=labels,
                ax=self.ax_,
                legend=False,
                scatter_kwargs=scatter_kwargs,
            )
            self.scatters_ = over.scatters_
        self._plot_lines(contour_kwargs, text_kwargs)
        self.legend_: Any = None
        if legend:
            self._plot_legend()
        return self

    def _plot_lines(
        self, given: dict[str, Any] | None, text_given: dict[str, Any] | None
    ) -> None:
        from matplotlib.patheffects import withStroke

        heights = np.asarray(self.heights, dtype=np.float64)
        finite = heights[np.isfinite(heights)]
        heights = np.clip(heights, finite.min(), finite.max())
        named = dict(zip(self.levels, self.names, strict=True))
        rising = sorted(named)
        style: dict[str, Any] = {"colors": [INK], "linewidths": 1.3, "zorder": 3}
        style["linestyles"] = "solid"  # those of negative scores would be dashed
        kwargs = merged({**style, "levels": rising}, given)
        self.contours_ = self.ax_.contour(self.x, self.y, heights, **kwargs)
        style = {"fmt": named, "fontsize": "small", "zorder": 4}
        texts = self.ax_.clabel(self.contours_, **merged(style, text_given))
        self.texts_: list[Any] = list(texts)
        for text in self.texts_:  # which lie over points too
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        self.threshold_: Any = None
        low, high = finite.min(), finite.max()
        if self.threshold is not None and low < self.threshold < high:
            style = {"colors": [INK], "linewidths": 1.2, "linestyles": ["--"]}
            style |= {"levels": [self.threshold], "zorder": 3}
            self.threshold_ = self.ax_.contour(self.x, self.y, heights, **style)

    def _plot_legend(self) -> None:
        from matplotlib.lines import Line2D

        points = [it for it in self.scatters_ if it.get_label()[:1] != "_"]
        style: dict[str, Any] = {"color": INK, "linewidth": 1.2}
        lines = [Line2D([], [], label=self.meaning, **style)]
        if self.threshold_ is not None:
            style["linestyle"] = "--"
            lines.append(Line2D([], [], label="threshold", **style))
        self.legend_ = self.ax_.legend(
            handles=[*points, *lines],
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            handletextpad=0.4,
        )
        for handle in self.legend_.legend_handles[: len(points)]:
            handle.set(alpha=1.0, sizes=[36])


def _checked(name: str, values: Any) -> list[float]:
    if np.ndim(values) != 1 or not len(values):
        raise ValueError(f"{name} must be a sequence of numbers, got {values!r}.")
    return [
        check_real(f"{name}[{k}]", float(it), 0.0, 1.0, closed="neither")
        for k, it in enumerate(values)
    ]


def _reach(
    points: NDArray[Any],
    heights_at: Callable[[NDArray[np.float64]], NDArray[Any]],
    level: float,
    n_places: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places along both axes, which reach beyond the points until lines close.

    Some never do, so that the range once more on either side is enough.
    """
    low, high = (edge(points, axis=0).astype(np.float64) for edge in (np.min, np.max))
    span = high - low
    span[span == 0] = span.max() or 1.0
    steps = np.linspace(0.0, 1.0, BORDER_PLACES)
    zeros, ones = np.zeros(BORDER_PLACES), np.ones(BORDER_PLACES)
    sides = [(steps, zeros), (steps, ones), (zeros, steps), (ones, steps)]
    border = np.concatenate([np.column_stack(side) for side in sides])
    for margin in MARGINS:
        first, length = low - margin * span, (1 + 2 * margin) * span
        if heights_at(first + border * length).max() < level:
            break
    unit = np.linspace(0.0, 1.0, n_places)
    return first[0] + unit * length[0], first[1] + unit * length[1]
