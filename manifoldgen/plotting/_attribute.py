"""What a direction of an attribute does to rows, and where they lie along it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..latent import (
    AttributeDirection,
    coordinates,
    direction_of_latents,
    invertible_part,
    latents_of_rows,
    shifted_latents,
)
from ._cells import decode_cells
from ._estimators import rows_of
from ._images import MAX_COLUMNS, value_range_of
from ._style import INK, MUTED, PALETTE, merged, quiet
from ._traversal import TraversalDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 48
PLACES_INCHES = 2.4  # width of the histograms
MARGIN_INCHES = 0.75  # for what is written beside them
LEGEND_INCHES = 0.36  # above them
_PATH: dict[str, Any] = {"color": INK, "linewidth": 1.0, "markersize": 5}
RIDGE, FLOOR = 0.78, 0.9  # of the height of a cell: of a histogram, and its foot


class AttributeDirectionDisplay:
    """Decoded rows at steps along a direction, and where all rows lie along it.

    Each path has beside it the histogram of the rows with the attribute and of those
    without, each of the same area, and below that the path itself: where it begins and
    its steps.

    Parameters
    ----------
    cells : ndarray of shape (n_paths, n_steps, H, W), (n_paths, n_steps, 3, H, W) or \
(n_paths, n_steps, n_features)
        What is at each step; the last is drawn as lines.
    steps : ndarray of shape (n_steps,)
        In standard deviations of the latents along the direction.
    places : ndarray of shape (n_paths, n)
        Where each row of the data lies along the direction of a path, in standard
        deviations from the mean.
    starts : ndarray of shape (n_paths,)
        Where a path begins, in the same units.
    members : ndarray of shape (n_paths, n), bool, default=None
        Which rows have the attribute; None where it is a number.
    group_names : tuple of str (without, with), default=("without", "with")
        What the rows are called that do not have it and that do.
    path_names : sequence of str, default=()
        What the paths are called, from above.
    correlations : ndarray of shape (n_paths,), default=None
        Of places and attribute, written beside the histograms.
    value_range : tuple of float (low, high), default=None
        The values drawn black and white, or lowest and highest; None takes the
        extremes of `cells`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the cells.
    places_ax_ : matplotlib Axes
        Of the histograms, at the right of the cells.
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage or None
        All cells, where they are images.
    lines_ : matplotlib LineCollection or None
        All cells, where they are not.
    legend_ : matplotlib Legend or None

    See Also
    --------
    attribute_direction : How the direction is learned.

    Examples
    --------
    >>> from manifoldgen import AttributeDirectionDisplay
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_digits(return_X_y=True)
    >>> pca = PCA(16).fit(X)
    >>> display = AttributeDirectionDisplay.from_estimator(
    ...     pca, X, y, label=8, rows=X[:3], image_shape=(8, 8)
    ... )
    >>> display.cells.shape, display.places.shape
    ((3, 7, 8, 8), (3, 1797))
    """

    def __init__(
        self,
        *,
        cells: NDArray[Any],
        steps: NDArray[np.float64],
        places: NDArray[np.float64],
        starts: NDArray[np.float64],
        members: NDArray[np.bool_] | None = None,
        group_names: tuple[str, str] = ("without", "with"),
        path_names: Sequence[str] = (),
        correlations: NDArray[np.float64] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.cells = cells
        self.steps = steps
        self.places = places
        self.starts = starts
        self.members = members
        self.group_names = group_names
        self.path_names = path_names
        self.correlations = correlations
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        rows: Any = None,
        label: Any = None,
        steps: Sequence[float] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
        method: str = "mean",
        target: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "AttributeDirectionDisplay":
        """Learn the direction of an attribute, and draw what it does.

        Parameters
        ----------
        estimator : manifold or Pipeline, fitted
            With `transform` and `inverse_transform`; a last step of a Pipeline that
            only generates is left out.
        X : array-like of shape (n, n_features) or images
            Rows to learn the direction from, and where they lie along it.
        y : array-like of shape (n,)
            Their labels or numbers, as `attribute_direction` takes them.
        rows : array-like of shape (n_features,), an image, or several, default=None
            Where paths begin, one a row. None begins at the mean of the latents.
        label : label, default=None
            The class to go towards. None is the second of two classes, greater
            numbers, or of more classes a path towards each, at most the first 12.
        steps : sequence of float, default=(-3, -2, -1, 0, 1, 2, 3)
            In standard deviations of the latents along the direction.
        method : {"mean", "discriminant"}, default="mean"
            As in `attribute_direction`.
        target : {"auto", "class", "number"}, default="auto"
            As in `attribute_direction`.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `inverse_transform` gives images or a
            step knows their shape; other rows are drawn as lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : AttributeDirectionDisplay

        Raises
        ------
        TypeError
            If `estimator` cannot go there and back.
        ValueError
            As of `attribute_direction` and `shift_attribute`, or if several rows are to
            go towards each of several classes.
        """
        manifold = invertible_part(estimator)
        data = latents_of_rows(manifold, X)
        found = direction_of_latents(data, y, method, target)
        starts = None if rows is None else coordinates(manifold, rows)[0]
        labels, names = _paths(found, starts, label)
        Z = found.center[None] if starts is None else starts
        Z = np.broadcast_to(Z, (len(labels), data.shape[1]))
        towards = [found.toward(goal) for goal in labels]
        latents = np.concatenate(
            [
                shifted_latents(z[None], v, steps)
                for z, v in zip(Z, towards, strict=True)
            ]
        )
        cells = decode_cells(manifold, latents, image_shape)
        members, group_names = _groups(found, labels, y)
        display = cls(
            cells=cells,
            steps=np.asarray(steps, dtype=np.float64),
            places=np.stack([_places(data, found, v) for v in towards]),
            starts=np.concatenate(
                [_places(z[None], found, v) for z, v in zip(Z, towards, strict=True)]
            ),
            members=members,
            group_names=group_names,
            path_names=names,
            correlations=_correlations(found, labels),
            value_range=value_range_of(rows_of(X)) if cells.ndim > 3 else None,
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        stairs_kwargs: dict[str, Any] | None = None,
    ) -> "AttributeDirectionDisplay":
        """Draw the cells and the histograms.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            For the cells; the histograms are drawn at their right. None makes a figure
            of a size that suits them.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.
        line_kwargs : dict, default=None
            Handed to `LineCollection`.
        stairs_kwargs : dict, default=None
            Handed to `Axes.stairs`, for the histograms.

        Returns
        -------
        self : AttributeDirectionDisplay
        """
        cells = np.asarray(self.cells)
        drawn = TraversalDisplay(
            cells=cells,
            path_names=self.path_names,
            step_names=[f"{step:+.3g}" if step else "0" for step in self.steps],
            step_axis="step (standard deviations)",
            value_range=self.value_range,
        ).plot(ax, im_kwargs=im_kwargs, line_kwargs=line_kwargs)
        self.figure_, self.ax_ = drawn.figure_, drawn.ax_
        self.image_, self.lines_ = drawn.image_, drawn.lines_
        width, tall = self.figure_.get_size_inches()
        self.places_ax_ = self.ax_.inset_axes((1.05, 0.0, PLACES_INCHES / width, 1.0))
        height = float(cells.shape[-2]) if cells.ndim > 3 else 1.0
        self._plot_places(height, stairs_kwargs)
        if ax is None:
            self._make_room(width, tall)
        return self

    def _make_room(self, width: float, height: float) -> None:
        """Widen the figure for the histograms, whose size follows that of the cells.

        They are laid out after the cells, once: both at a time would not settle.
        """
        wide = width + PLACES_INCHES + MARGIN_INCHES
        tall = height + LEGEND_INCHES
        self.figure_.set_size_inches(wide, tall)
        room = (0.0, 0.08 / tall, width / wide, height / tall)
        self.figure_.get_layout_engine().set(rect=room)
        self.places_ax_.set_in_layout(False)
        self.figure_.draw_without_rendering()
        self.figure_.set_layout_engine("none")
        self.places_ax_.set_in_layout(True)

    def _plot_places(self, height: float, given: dict[str, Any] | None) -> None:
        """Draw the histogram of each path at the height of its cells."""
        ax, (bottom, top) = self.places_ax_, self.ax_.get_ylim()
        starts, places = np.asarray(self.starts), np.asarray(self.places)
        on_path = starts[:, None] + self.steps
        low = min(places.min(), on_path.min())
        edges = np.linspace(low, max(places.max(), on_path.max()), BINS + 1)
        pitch = (bottom - top - height) / max(len(places) - 1, 1)
        bases = top + FLOOR * height + np.arange(len(places)) * pitch
        for row, base in enumerate(bases):
            self._plot_histogram(row, base, RIDGE * height, edges, given)
            ax.plot(on_path[row], np.full(len(self.steps), base), "|-", **_PATH)
            ax.plot(starts[row], base, "o", color=INK, markersize=4, clip_on=False)
            if self.correlations is not None:
                ax.text(
                    1.06,
                    (bottom - base + 0.4 * height) / (bottom - top),
                    f"r = {self.correlations[row]:.2f}",
                    transform=ax.transAxes,
                    size=8,
                    color=MUTED,
                    va="center",
                )
        ax.set(ylim=(bottom, top), yticks=[], xlabel="place along the direction")
        quiet(ax)
        ax.locator_params(axis="x", nbins=5, integer=True)
        ax.spines["left"].set_visible(False)
        self._plot_legend()

    def _plot_histogram(
        self,
        row: int,
        base: float,
        height: float,
        edges: NDArray[np.float64],
        given: dict[str, Any] | None,
    ) -> None:
        places = self.places[row]
        members = None if self.members is None else self.members[row]
        groups = [places] if members is None else [places[~members], places[members]]
        shares = [
            np.histogram(group, edges)[0] / max(len(group), 1) for group in groups
        ]
        peak = max(share.max() for share in shares)
        colors = (MUTED, PALETTE[0]) if len(groups) > 1 else (PALETTE[0],)
        names = self.group_names if len(groups) > 1 else ("",)
        for share, color, name in zip(shares, colors, names, strict=True):
            style = {"color": color, "alpha": 0.55, "linewidth": 0.0, "fill": True}
            if row == 0 and name:
                style["label"] = name
            tops = base - height * share / peak
            kwargs = merged(style, given)
            self.places_ax_.stairs(tops, edges, baseline=base, **kwargs)

    def _plot_legend(self) -> None:
        self.legend_: Any = None
        if self.members is not None:
            self.legend_ = self.places_ax_.legend(
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
                ncols=2,
                frameon=False,
                fontsize="small",
                handlelength=1.0,
            )


def _paths(
    found: AttributeDirection, starts: NDArray[Any] | None, label: Any
) -> tuple[list[Any], list[str]]:
    """Return the label that each path goes towards, and what it is called."""
    n_rows = 1 if starts is None else len(starts)
    if label is None and found.classes is not None and len(found.directions) > 1:
        if n_rows > 1:
            raise ValueError(
                f"label must name a class where rows are several, got None with "
                f"{n_rows} rows and {len(found.classes)} classes."
            )
        goals = found.classes.tolist()[:MAX_COLUMNS]
        return goals, [str(goal) for goal in goals]
    if starts is None:
        return [label], ["mean"]
    return [label] * n_rows, [f"row {k + 1}" for k in range(n_rows)]


def _places(
    Z: NDArray[Any], found: AttributeDirection, toward: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return where latents lie along one direction, which may be turned around."""
    return (Z.astype(np.float64) - found.center) @ toward / (toward @ toward)


def _groups(
    found: AttributeDirection, labels: list[Any], y: Any
) -> tuple[NDArray[np.bool_] | None, tuple[str, str]]:
    """Return which rows are of the class of each path, and names of both groups."""
    classes = found.classes
    if classes is None:
        return None, ("", "")
    goals = [classes[-1] if goal is None else goal for goal in labels]
    given = np.asarray(y).astype(classes.dtype)
    members = np.stack([given == goal for goal in goals])
    name = str(goals[0]) if len(set(goals)) == 1 else "class"
    others = [str(known) for known in classes if known != goals[0]]
    return members, (others[0] if len(others) == 1 else "other classes", name)


def _correlations(found: AttributeDirection, labels: list[Any]) -> NDArray[np.float64]:
    """Return the correlation of each path, which its opposite has too."""
    if found.classes is None or len(found.directions) == 1:
        return np.repeat(found.correlations, len(labels))
    at = [int(np.flatnonzero(found.classes == goal)[0]) for goal in labels]
    return found.correlations[at]
