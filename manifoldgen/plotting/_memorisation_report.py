"""A picture of how near generated rows come to training rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._images import value_range_of
from ._nearest_real import NearestRealDisplay
from ._style import INK, MUTED, PALETTE, merged, pyplot, quiet
from ._tiles import tiles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40
_STYLES = {  # what is drawn of each row of a report, and over what
    "training": ("training rows", MUTED, ":"),
    "held_out": ("held-out rows", INK, "--"),
    "generated": ("generated rows", PALETTE[0], "-"),
}


class MemorisationReportDisplay:
    """The closest pairs of a report, beside how far all rows are from training rows.

    A generator that copies has pairs of twins, and a heap of distances on the left
    that held-out rows do not have.

    Parameters
    ----------
    distances : mapping of str to ndarray of shape (n,)
        Of "generated", "held_out" and "training" rows to the nearest training row,
        whichever there are.
    pairs : NearestRealDisplay, default=None
        Generated rows beside the nearest training rows; it need not be drawn yet.
    title : str, default=""
        Above the distances.

    Attributes
    ----------
    axes_ : dict of str to matplotlib Axes
        "pairs", where there are any, and "distances".
    figure_ : matplotlib Figure
    steps_ : dict of str to matplotlib Polygon
        The histogram of each kind of rows.
    legend_ : matplotlib Legend

    See Also
    --------
    memorisation_report : Where distances and pairs come from.

    Examples
    --------
    >>> from manifoldgen import memorisation_report
    >>> from sklearn.datasets import load_digits
    >>> X, _ = load_digits(return_X_y=True)
    >>> report = memorisation_report(X[:400] + 0.5, X[:400], X[400:800])
    >>> display = report.plot(image_shape=(8, 8))
    >>> list(display.axes_), display.pairs.generated.shape
    (['pairs', 'distances'], (8, 8, 8))
    """

    def __init__(
        self,
        *,
        distances: Mapping[str, NDArray[np.float64]],
        pairs: NearestRealDisplay | None = None,
        title: str = "",
    ) -> None:
        self.distances = distances
        self.pairs = pairs
        self.title = title

    @classmethod
    def from_report(
        cls,
        report: Any,
        *,
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "MemorisationReportDisplay":
        """Draw a report.

        Parameters
        ----------
        report : MemorisationReport
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where the training rows were images; other rows
            are drawn as lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : MemorisationReportDisplay

        Raises
        ------
        ValueError
            If `image_shape` does not suit the rows, or the report holds no distances.
        """
        if report.distances is None:
            raise ValueError(
                "report must hold distances to be drawn, got one without: draw the one "
                "that memorisation_report returns."
            )
        pairs = None
        if report.examples is not None:
            pairs = _pairs_of(report.examples, image_shape)
        title = report.verdict.partition(":")[0].partition(";")[0]
        display = cls(distances=report.distances, pairs=pairs, title=title)
        return display.plot(**plot_kwargs)

    def plot(
        self,
        *,
        figure: Any = None,
        hist_kwargs: dict[str, Any] | None = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> "MemorisationReportDisplay":
        """Draw the panels.

        Parameters
        ----------
        figure : matplotlib Figure, default=None
            An empty one to draw in; None makes one.
        hist_kwargs : dict, default=None
            Handed to `Axes.hist`.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.
        line_kwargs : dict, default=None
            Handed to `LineCollection`, for rows that are no images.

        Returns
        -------
        self : MemorisationReportDisplay
        """
        plt = pyplot("MemorisationReportDisplay.plot")
        names = ["distances"] if self.pairs is None else ["pairs", "distances"]
        if figure is None:
            size = (5.0 * len(names), 3.4 if self.pairs is None else 5.4)
            figure = plt.figure(figsize=size, layout="constrained")
        self.figure_ = figure
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        self.axes_: dict[str, Axes] = dict(zip(names, panels, strict=True))
        if self.pairs is not None:
            ax = self.axes_["pairs"]
            self.pairs.plot(ax, im_kwargs=im_kwargs, line_kwargs=line_kwargs)
            # the names of its columns are wider than the tiles of small images
            ax.set_xticks(ax.get_xticks(), ["generated", "nearest\ntraining rows"])
        self._plot_distances(self.axes_["distances"], hist_kwargs)
        return self

    def _plot_distances(self, ax: "Axes", given: dict[str, Any] | None) -> None:
        known = {row: self.distances[row] for row in _STYLES if row in self.distances}
        highest = max(float(np.max(it)) for it in known.values())
        bins = np.linspace(0.0, highest if highest > 0 else 1.0, _BINS + 1)
        self.steps_: dict[str, Any] = {}
        for row, distances in known.items():
            label, color, line = _STYLES[row]
            # shares, or samples of other sizes would stand above each other
            weights = np.full(len(distances), 1 / len(distances))
            style: dict[str, Any] = {"histtype": "step", "color": color}
            style |= {"linestyle": line, "weights": weights}
            kwargs = merged({"bins": bins, "label": label, **style}, given)
            patches: Any = ax.hist(distances, **kwargs)[2]
            self.steps_[row] = patches[0]
        quiet(ax, grid="y")
        ax.set_xlim(left=0.0)
        ax.set(xlabel="distance to the nearest training row", ylabel="share of rows")
        ax.set_title(self.title, fontsize="medium", color=INK)
        self.legend_ = ax.legend(frameon=False)


def _pairs_of(
    examples: Mapping[str, NDArray[Any]], image_shape: tuple[int, ...] | None
) -> NearestRealDisplay:
    """Return examples as tiles: images where their layout is known, else lines."""
    generated, nearest = examples["generated"], examples["nearest"]
    rows = nearest.reshape(-1, *nearest.shape[2:])
    if image_shape is None and rows.ndim == 4 and rows.shape[1] not in (1, 3):
        generated, rows = (it.reshape(len(it), -1) for it in (generated, rows))
    tiles = tiles_of(rows, image_shape)
    return NearestRealDisplay(
        generated=tiles_of(generated, image_shape),
        nearest=tiles.reshape(*nearest.shape[:2], *tiles.shape[1:]),
        distances=examples["distances"],
        indices=examples["indices"],
        value_range=value_range_of(rows),
    )
