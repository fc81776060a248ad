"""A picture of what is known of a generator."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._images import as_images, gap_between, mosaic, value_range_of
from ._style import INK, MUTED, PALETTE, merged, pyplot, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figures = Mapping[str, Mapping[str, float | None]]

SHARES = {
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "two_sample_accuracy": "told from real rows",
}
# The kernel distance is left out: of real rows it is 0 but for noise of either sign.
DISTANCES = {
    "frechet_distance": "Fréchet",
    "energy_distance": "energy",
    "sliced_wasserstein": "sliced Wasserstein",
}
USES = {
    "label_agreement": "has the label asked for",
    "downstream_accuracy": "accuracy, trained on it",
    "near_copy_share": "near copies",
    "membership_auc": "membership AUC",
}
_REAL = ("real", "halves")
_PAIRS_IN_A_ROW = 6
_LEAST_BARS = 3  # places for them, or one alone would fill its panel


class GenerationReportDisplay:
    """Generated rows beside real ones, and the figures of a report in three panels.

    A bar is what generated rows get; a line across it is what real rows get in their
    place, and a diamond what held-out rows get after the way to latent space and back.
    The span at the membership AUC is that of 19 in 20 generators that leak nothing.
    Distances are drawn as multiples of that of the real rows.

    Parameters
    ----------
    figures : mapping of str to mapping of str to float or None
        As a `GenerationReport` holds them: by row, then by the name of the figure.
    plane : mapping of str to ndarray of shape (n, 1) or (n, 2), default=None
        "real" and "generated" rows, drawn as points, or as histograms of one column.
    images : ndarray of shape (2, m, H, W) or (2, m, 3, H, W), default=None
        Generated images and the nearest real ones, drawn in place of `plane`.
    value_range : tuple of float (low, high), default=None
        The values drawn black and white; None takes the extremes of the real images,
        or 0 and 255 for bytes.

    Attributes
    ----------
    axes_ : dict of str to matplotlib Axes
        "rows" where there are any to draw, "shares", "distances" and "uses", each
        where there are such figures.
    figure_ : matplotlib Figure
    bars_ : dict of str to matplotlib BarContainer
        By the panel.
    image_ : matplotlib AxesImage or None
    scatters_ : list of matplotlib PathCollection
    legend_ : matplotlib Legend

    See Also
    --------
    manifoldgen.evaluate_generator : Where the figures come from.

    Examples
    --------
    >>> from manifoldgen import evaluate_generator
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> X, _ = load_iris(return_X_y=True)
    >>> mixture = GaussianMixture(3, random_state=0).fit(X[::2])
    >>> display = evaluate_generator(mixture, X[1::2], X_train=X[::2]).plot()
    >>> list(display.axes_)
    ['rows', 'shares', 'distances', 'uses']
    """

    def __init__(
        self,
        *,
        figures: Figures,
        plane: Mapping[str, NDArray[Any]] | None = None,
        images: NDArray[Any] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.figures = figures
        self.plane = plane
        self.images = images
        self.value_range = value_range

    @classmethod
    def from_report(
        cls,
        report: Any,
        *,
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "GenerationReportDisplay":
        """Draw a report.

        Parameters
        ----------
        report : GenerationReport
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where the held-out rows were images; other rows
            are drawn as points on two principal axes of the real ones.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : GenerationReportDisplay

        Raises
        ------
        ValueError
            If `image_shape` does not suit the rows, or the report was read from JSON
            and holds none.
        """
        examples = report.examples
        if examples is None and image_shape is not None:
            raise ValueError(
                "image_shape must be None for a report that was read from JSON, which "
                f"holds no rows, got {image_shape}."
            )
        images = value_range = None
        if examples is not None and _are_images(examples["nearest"], image_shape):
            pair = examples["generated"], examples["nearest"]
            images = np.stack([as_images(rows, image_shape) for rows in pair])
            value_range = value_range_of(np.asarray(examples["nearest"]))
        display = cls(
            figures=report.figures,
            plane=report.plane,
            images=images,
            value_range=value_range,
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        *,
        figure: Any = None,
        bar_kwargs: dict[str, Any] | None = None,
        scatter_kwargs: dict[str, Any] | None = None,
        im_kwargs: dict[str, Any] | None = None,
    ) -> "GenerationReportDisplay":
        """Draw the panels.

        Parameters
        ----------
        figure : matplotlib Figure, default=None
            An empty one to draw in; None makes one.
        bar_kwargs : dict, default=None
            Handed to `Axes.barh`.
        scatter_kwargs : dict, default=None
            Handed to `Axes.scatter`, or to `Axes.hist` for rows of one column.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.

        Returns
        -------
        self : GenerationReportDisplay
        """
        self._make_axes(figure)
        self.image_: Any = None
        self.scatters_: list[Any] = []
        self.bars_: dict[str, Any] = {}
        if self.images is not None:
            self._plot_images(self.axes_["rows"], im_kwargs)
        elif self.plane is not None:
            self._plot_plane(self.axes_["rows"], scatter_kwargs)
        for panel, names in self._panels().items():
            self._plot_bars(panel, names, bar_kwargs)
        self._name_panels()
        return self

    def _panels(self) -> dict[str, dict[str, str]]:
        """Return what each panel of bars shows, where generated rows have it."""
        generated = self.figures["generated"]
        panels = {"shares": SHARES, "distances": DISTANCES, "uses": USES}
        known = {
            panel: {k: v for k, v in names.items() if generated.get(k) is not None}
            for panel, names in panels.items()
        }
        return {panel: names for panel, names in known.items() if names}

    def _make_axes(self, figure: Any) -> None:
        plt = pyplot("GenerationReportDisplay.plot")
        with_rows = self.images is not None or self.plane is not None
        names = [*(["rows"] if with_rows else []), *self._panels()]
        n_columns = 2 if len(names) == 4 else len(names)
        n_rows = -(-len(names) // n_columns)
        if figure is None:
            size = (4.4 * n_columns, 2.9 * n_rows + 0.4)
            figure = plt.figure(figsize=size, layout="constrained")
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        self.figure_ = figure
        self.axes_: dict[str, Axes] = dict(zip(names, grid.ravel(), strict=True))

    def _plot_images(self, ax: "Axes", given: dict[str, Any] | None) -> None:
        pairs = np.asarray(self.images)
        n, (height, width) = pairs.shape[1], pairs.shape[-2:]
        gap = gap_between(pairs)
        n_columns = min(n, _PAIRS_IN_A_ROW)
        row, column = np.divmod(np.arange(n), n_columns)
        tops = row * (2 * height + 4 * gap)
        picture = mosaic(
            pairs.reshape(-1, *pairs.shape[2:]),
            np.concatenate([tops, tops + height + gap]),
            np.tile(column * (width + gap), 2),
            self.value_range or value_range_of(pairs[1]),
        )
        defaults = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0}
        kwargs = merged({**defaults, "interpolation": "nearest"}, given)
        self.image_ = ax.imshow(picture, **kwargs)
        starts = np.unique(tops)
        middles = [(top, top + height + gap) for top in starts + (height - 1) / 2]
        ax.set_yticks(np.ravel(middles), ["generated", "nearest real"] * len(starts))
        ax.set_xticks([])
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelcolor=INK)

    def _plot_plane(self, ax: "Axes", given: dict[str, Any] | None) -> None:
        colors = {"real": MUTED, "generated": PALETTE[0]}
        for row, points in (self.plane or {}).items():
            # bars of generated rows have an entry of that colour already
            label = "real rows" if row == "real" else None
            style: dict[str, Any] = {"color": colors[row], "label": label}
            if points.shape[1] == 1:
                style |= {"histtype": "step", "bins": 30, "density": True}
                ax.hist(points[:, 0], **merged(style, given))
                continue
            style |= {"s": 9, "alpha": 0.6, "linewidths": 0}
            self.scatters_.append(ax.scatter(*points.T, **merged(style, given)))
        quiet(ax)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("principal axes of the real rows")

    def _plot_bars(
        self, panel: str, names: Mapping[str, str], given: dict[str, Any] | None
    ) -> None:
        ax = self.axes_[panel]
        unit = self._units(panel, names)
        heights = -np.arange(len(names), dtype=np.float64)
        values = self._values("generated", names) / unit
        in_real_ones = panel == "distances" and bool(self._real())
        start = 1.0 if in_real_ones else 0.0
        if in_real_ones:
            ax.set_xscale("log")
        style = {"height": 0.55, "color": PALETTE[0], "label": "generated"}
        kwargs = merged({**style, "left": start}, given)
        self.bars_[panel] = ax.barh(heights, values - start, **kwargs)
        if self._real():
            self._plot_mark(ax, self._real(), names, unit, heights)
        self._plot_mark(ax, "reconstruction", names, unit, heights)
        if "membership_auc" in names:
            self._plot_chance(ax, heights[list(names).index("membership_auc")])
        for height, value in zip(heights, values, strict=True):
            ax.annotate(
                f"{value:.2f}" if value < 100 else f"{value:.3g}",
                (1.02, height),
                xycoords=ax.get_yaxis_transform(),
                va="center",
                color=INK,
                fontsize="small",
            )
        ax.set_yticks(heights, list(names.values()))
        ax.set_ylim(0.5 - max(len(names), _LEAST_BARS), 0.5)
        quiet(ax, grid="x")
        ax.tick_params(axis="y", length=0)

    def _plot_mark(
        self,
        ax: "Axes",
        row: str,
        names: Mapping[str, str],
        unit: NDArray[np.float64],
        heights: NDArray[np.float64],
    ) -> None:
        if row not in self.figures:
            return
        style: dict[str, Any] = {"marker": "|", "s": 320, "color": INK}
        if row == "reconstruction":
            style = {"marker": "D", "s": 30, "color": PALETTE[1]}
        label = "real" if row in _REAL else row
        ax.scatter(self._values(row, names) / unit, heights, **style, label=label)

    def _plot_chance(self, ax: "Axes", height: float) -> None:
        """Draw where the attack is when nothing leaks, 19 times in 20."""
        error = self.figures["generated"].get("membership_auc_error")
        if error is not None:
            style: dict[str, Any] = {"fmt": "none", "ecolor": INK, "capsize": 3}
            ax.errorbar(0.5, height, xerr=2 * error, **style, label="no leak")

    def _real(self) -> str:
        """Return the row of real rows in the place of generated ones, "" for none."""
        return next((row for row in _REAL if row in self.figures), "")

    def _values(self, row: str, names: Mapping[str, str]) -> NDArray[np.float64]:
        """Return figures of a row, NaN where it has none."""
        figures = self.figures[row]
        return np.array([figures.get(name) for name in names], dtype=np.float64)

    def _units(self, panel: str, names: Mapping[str, str]) -> NDArray[np.float64]:
        """Return what is drawn as 1: for distances those of real rows, if any."""
        if panel != "distances" or not self._real():
            return np.ones(len(names))
        return self._values(self._real(), names)

    def _name_panels(self) -> None:
        titles = {
            "rows": "generated and real rows",
            "shares": "does it look real?",
            "distances": "does it follow the distribution?",
            "uses": "is it useful, does it copy?",
        }
        entries: dict[str, Any] = {}
        for name, ax in self.axes_.items():
            ax.set_title(titles[name], fontsize="medium", color=INK)
            handles, labels = ax.get_legend_handles_labels()
            entries.update(zip(labels, handles, strict=True))
        if "distances" in self.axes_:
            self._name_distances(self.axes_["distances"])
        self.legend_ = self.figure_.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=len(entries),
            frameon=False,
        )

    def _name_distances(self, ax: "Axes") -> None:
        if not self._real():
            ax.set_xlabel("distance from the real rows")
            return
        from matplotlib.ticker import LogLocator, NullFormatter

        # powers of ten alone would name one place of a range of less than ten
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("times the distance that real rows get")


def _are_images(rows: NDArray[Any], image_shape: tuple[int, ...] | None) -> bool:
    if image_shape is not None:
        return True
    return rows.ndim == 3 or (rows.ndim == 4 and rows.shape[1] in (1, 3))
