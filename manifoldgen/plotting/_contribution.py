"""What made a row far: the parts of its squared distance."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._arrays import flatten_images
from .._validation import check_choice, check_int
from ._images import as_images, gap_between, mosaic, value_range_of
from ._scorers import answers_of, rows_of_scorer, scorer_of
from ._style import INK, MUTED, PALETTE, figure_and_axes, merged, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("feature", "direction", "group")
TILE_INCHES = 0.95
LONGEST_NAME = 30


def largest_parts(
    contributions: NDArray[np.float64], n_shown: int
) -> tuple[NDArray[np.intp], float, int]:
    """Return which contributions are largest in size, and what is left of the sum.

    Parameters
    ----------
    contributions : ndarray of shape (n_parts,)
    n_shown : int

    Returns
    -------
    largest : ndarray of shape (n_largest,), int
        The largest first; all of them where there are `n_shown` at most, for a rest of
        one is that one.
    rest : float
        Sum of the others.
    n_rest : int
        Number of the others.

    Examples
    --------
    >>> largest_parts(np.array([1.0, 4.0, 0.5, 2.0]), 2)
    (array([1, 3]), 1.5, 2)
    """
    order = np.argsort(-np.abs(contributions), kind="stable")
    n_largest = n_shown if len(order) > n_shown + 1 else len(order)
    rest = order[n_largest:]
    return order[:n_largest], float(contributions[rest].sum()), len(rest)


def three_digits(value: float) -> str:
    """Return three digits of a number, or all before the point of one up to a million.

    Examples
    --------
    >>> three_digits(0.0312), three_digits(48.0), three_digits(2370.4)
    ('0.0312', '48.0', '2370')
    """
    if not value or 1e3 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:#.3g}".rstrip(".")


class ContributionDisplay:
    """What made rows far: bars of the largest parts of one, or heat maps of images.

    Contributions of a row add up to its squared distance, which stands in the title of
    bars, whose last is what all others add, and below each heat map. Those of the
    pixels of all channels are added up.

    Parameters
    ----------
    contributions : ndarray of shape (n, n_parts)
        Of one row where there are no images.
    names : sequence of str, default=None
        Of the parts; None is "feature 0" and so on.
    images : ndarray of shape (n, H, W) or (n, 3, H, W), default=None
        The rows as images, above the contributions of their pixels.
    value_range : tuple of float (low, high), default=None
        The values of images drawn black and white; None takes their extremes, or 0 and
        255 for bytes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer or None
        The largest first, then the others together.
    image_, heat_ : matplotlib AxesImage or None
        All images, and all heat maps.
    colorbar_ : matplotlib Colorbar or None
    texts_ : list of matplotlib Text
        Contributions beside the bars, or squared distances below the heat maps.

    Examples
    --------
    >>> from manifoldgen import ContributionDisplay, MahalanobisScorer
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris(as_frame=True).data
    >>> scorer = MahalanobisScorer(random_state=0).fit(X[:50])
    >>> display = ContributionDisplay.from_estimator(scorer, X[100:101])
    >>> [label.get_text() for label in display.ax_.get_yticklabels()][:2]
    ['petal length (cm)', 'petal width (cm)']
    """

    def __init__(
        self,
        *,
        contributions: NDArray[np.float64],
        names: Sequence[str] | None = None,
        images: NDArray[Any] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.contributions = contributions
        self.names = names
        self.images = images
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        by: Literal["feature", "direction", "group"] = "feature",
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "ContributionDisplay":
        """Draw what made rows far for a fitted scorer.

        Parameters
        ----------
        estimator : scorer, Pipeline or search, fitted
            With `contributions`.
        X : array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            One row where bars are drawn; all images are, where heat maps are.
        by : {"feature", "direction", "group"}, default="feature"
            What the parts are: columns of the rows that the scorer takes, principal
            directions, or groups of columns.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row: draws heat maps, where the columns that the scorer takes
            are pixels. None draws them where `X` holds images and no step is before
            the scorer.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ContributionDisplay

        Raises
        ------
        TypeError
            If the scorer has no `contributions`.
        ValueError
            If `by` is out of range, rows are several where bars are drawn, or
            `image_shape` suits neither rows nor contributions.
        """
        check_choice("by", by, PARTS)
        head, scorer = scorer_of(estimator)
        rows = rows_of_scorer(head, X)
        contributions = answers_of(scorer, "contributions", rows, by=by)
        if image_shape is None and by == "feature" and head is None:
            image_shape = flatten_images(X)[1]
        names = _names_of(head, scorer, rows, by, contributions.shape[1])
        return cls.from_contributions(
            contributions,
            names=names,
            X=None if image_shape is None else X,
            image_shape=image_shape,
            **plot_kwargs,
        )

    @classmethod
    def from_contributions(
        cls,
        contributions: Any,
        *,
        names: Sequence[str] | None = None,
        X: Any = None,
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "ContributionDisplay":
        """Draw contributions that are here already.

        Parameters
        ----------
        contributions : array-like of shape (n_parts,) or (n, n_parts)
            Of one row where bars are drawn.
        names : sequence of str, default=None
            Of the parts; None is "feature 0" and so on.
        X : array-like of shape (n, n_parts), (n, H, W) or (n, C, H, W), default=None
            The rows as images: draws heat maps in place of bars.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `X` holds images.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ContributionDisplay

        Raises
        ------
        ValueError
            If a contribution is not finite, lengths do not match, rows are several
            where bars are drawn, or rows cannot be laid out as images.
        """
        values = np.atleast_2d(np.asarray(contributions, dtype=np.float64))
        if values.ndim != 2 or not values.size:
            raise ValueError(
                "contributions must have shape (n_parts,) or (n, n_parts) and hold "
                f"some, got {np.shape(contributions)}."
            )
        if not np.isfinite(values).all():
            raise ValueError(
                "contributions must be finite, got "
                f"{np.sum(~np.isfinite(values))} that are not."
            )
        if names is not None and len(names) != values.shape[1]:
            raise ValueError(
                f"names must name all {values.shape[1]} parts, got {len(names)}."
            )
        if X is None:
            _check_one_row(values, image_shape)
            return cls(contributions=values, names=names).plot(**plot_kwargs)
        images = as_images(X, image_shape)
        pixels = math.prod(images.shape[1:])
        if (len(images), pixels) != values.shape:
            raise ValueError(
                "contributions must have one value for each pixel of the "
                f"{len(images)} images, shape {(len(images), pixels)}, got "
                f"{values.shape}. Without image_shape they are drawn as bars."
            )
        display = cls(contributions=values, names=names, images=images)
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        n_shown: int = 10,
        bar_kwargs: dict[str, Any] | None = None,
        im_kwargs: dict[str, Any] | None = None,
        heat_kwargs: dict[str, Any] | None = None,
    ) -> "ContributionDisplay":
        """Draw the bars, or the heat maps.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        n_shown : int, default=10
            How many bars, the largest; one more is what all others add.
        bar_kwargs : dict, default=None
            Handed to `Axes.barh`.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, for the images.
        heat_kwargs : dict, default=None
            Handed to `Axes.imshow`, for the heat maps.

        Returns
        -------
        self : ContributionDisplay
        """
        n_shown = check_int("n_shown", n_shown)
        self.bars_: Any = None
        self.image_: Any = None
        self.heat_: Any = None
        self.colorbar_: Any = None
        self.texts_: list[Any] = []
        if self.images is None:
            self._plot_bars(ax, n_shown, bar_kwargs)
        else:
            self._plot_heat(ax, np.asarray(self.images), im_kwargs, heat_kwargs)
        return self

    def _plot_bars(
        self, ax: "Axes | None", n_shown: int, given: dict[str, Any] | None
    ) -> None:
        values = np.asarray(self.contributions)[0]
        largest, rest, n_rest = largest_parts(values, n_shown)
        names = self.names
        if names is None:
            names = [f"feature {k}" for k in range(len(values))]
        labels = [_short(str(names[k])) for k in largest]
        lengths = values[largest]
        colors = [PALETTE[0]] * len(lengths)
        if n_rest:
            lengths = np.append(lengths, rest)
            labels.append(f"{n_rest} others")
            colors.append(PALETTE[3])
        heights = -np.arange(len(lengths))
        size = (5.6, 0.28 * max(len(lengths), 3) + 0.9)
        self.figure_, self.ax_ = figure_and_axes(ax, size, "ContributionDisplay.plot")
        style = {"color": colors, "height": 0.65}
        self.bars_ = self.ax_.barh(heights, lengths, **merged(style, given))
        texts = [three_digits(length) for length in lengths]
        self.texts_ = self.ax_.bar_label(
            self.bars_, texts, padding=3, color=INK, fontsize="small"
        )
        self.ax_.margins(x=0.12)
        self.ax_.set_yticks(heights, labels)
        self.ax_.set_xlabel("contribution to the squared distance")
        title = f"squared distance {values.sum():.4g}"
        self.ax_.set_title(title, fontsize="medium", color=INK)
        quiet(self.ax_, grid="x")
        self.ax_.tick_params(axis="y", length=0)

    def _plot_heat(
        self,
        ax: "Axes | None",
        images: NDArray[Any],
        given: dict[str, Any] | None,
        heat_given: dict[str, Any] | None,
    ) -> None:
        from matplotlib.colors import Normalize, PowerNorm

        heat = self._heat_of(images)
        n, (height, width) = len(images), images.shape[-2:]
        gap = gap_between(images)
        lefts = np.arange(n) * (width + gap)
        across, down = int(lefts[-1]) + width, 2 * height + gap
        scale = min(TILE_INCHES / width, 11 / across)
        size = (max(1.4, across * scale) + 1.6, down * scale + 0.45)
        caller = "ContributionDisplay.plot"
        self.figure_, self.ax_ = figure_and_axes(ax, size, caller, "compressed")
        tops = np.zeros(n, dtype=int)
        value_range = self.value_range or value_range_of(images)
        picture = mosaic(images, tops, lefts, value_range)
        style = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}
        style["extent"] = (0.0, across, height, 0.0)
        self.image_ = self.ax_.imshow(picture, **merged(style, given))
        low, high = float(heat.min()), float(heat.max())
        bound = max(abs(low), abs(high)) or 1.0
        # squares of whitened values: their roots let small ones be seen too
        style = {"cmap": "magma", "norm": PowerNorm(0.5, 0.0, bound)}
        if low < 0:
            style = {"cmap": "RdBu_r", "norm": Normalize(-bound, bound)}
        if heat_given is not None and heat_given.keys() & {"vmin", "vmax"}:
            del style["norm"]
        style["interpolation"] = "nearest"
        style["extent"] = (0.0, across, down, height + gap)
        # a mosaic is in [0, 1], and what it leaves free must stay free
        shares = mosaic(heat, tops, lefts, (low, high if high > low else low + 1.0))
        shown = low + shares * ((high - low) or 1.0)
        self.heat_ = self.ax_.imshow(shown, **merged(style, heat_given))
        self._name_heat(lefts + width / 2, height, gap, heat)

    def _heat_of(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Return contributions of pixels, (n, H, W), those of channels added up."""
        height, width = images.shape[-2:]
        values = np.asarray(self.contributions).reshape(len(images), -1, height, width)
        heat: NDArray[np.float64] = values.sum(axis=1)
        return heat

    def _name_heat(
        self,
        centers: NDArray[np.float64],
        height: int,
        gap: int,
        heat: NDArray[np.float64],
    ) -> None:
        bottom = 2 * height + gap
        self.ax_.set_ylim(bottom, 0.0)
        self.ax_.set_yticks([height / 2, bottom - height / 2], ["row", "contribution"])
        self.ax_.set_xticks([])
        self.ax_.spines[:].set_visible(False)
        self.ax_.tick_params(length=0, labelcolor=INK)
        self.texts_ = [
            self.ax_.annotate(
                three_digits(total),
                (center, bottom),
                xytext=(0, -4),
                textcoords="offset points",
                ha="center",
                va="top",
                size=7.5,
                color=MUTED,
            )
            for center, total in zip(centers, heat.sum(axis=(1, 2)), strict=True)
        ]
        self.colorbar_ = self.figure_.colorbar(self.heat_, ax=self.ax_, shrink=0.8)
        self.colorbar_.outline.set_visible(False)


def _check_one_row(
    values: NDArray[np.float64], image_shape: tuple[int, ...] | None
) -> None:
    if image_shape is not None:
        raise ValueError(
            f"image_shape must be None where X is, got {image_shape}. Pass the images "
            "that contributions are of as X."
        )
    if len(values) > 1:
        raise ValueError(
            f"contributions must be those of one row to be drawn as bars, got "
            f"{len(values)}. Take one, such as X[:1], or draw images with image_shape."
        )


def _names_of(head: Any, scorer: Any, rows: Any, by: str, n_parts: int) -> list[str]:
    """Return what parts are called: columns where they have names, else numbers."""
    if by != "feature":
        return [f"{by} {k}" for k in range(n_parts)]
    named = getattr(rows, "columns", None)
    if named is None:
        named = getattr(scorer, "feature_names_in_", None)
    if named is None and hasattr(head, "get_feature_names_out"):
        try:
            named = head.get_feature_names_out()
        except (AttributeError, ValueError):  # a step that has no names for columns
            named = None
    if named is None or len(named) != n_parts:
        return [f"feature {k}" for k in range(n_parts)]
    return [str(name) for name in named]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
