"""The rows of a set that belong to the data most, and those that do least."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import flatten_images
from .._validation import check_int
from ..outliers._base import DistanceScorer
from ._cells import shape_given_to
from ._estimators import rows_of
from ._images import value_range_of
from ._scorers import answers_of, numbers_of, rows_of_scorer, scorer_of
from ._style import INK, MUTED, figure_and_axes, merged
from ._tiles import draw_tiles, figure_size, gap_of, tile_size, tiles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TILE_INCHES = 0.75
GAPS = (0.15, 0.5)  # of the height: between columns, below
ROWS = ("most typical", "least typical")


class TypicalImagesDisplay:
    """The most typical rows of a set above the least typical, with what was measured.

    Whether a scorer finds what a person would: odd rows below, and if not, what it
    takes for odd.

    Parameters
    ----------
    typical, atypical : ndarray of shape (k, H, W), (k, 3, H, W) or (k, n_features)
        The first of each are the extremes. The last shape is for rows that are no
        images, which are drawn as lines.
    typical_scores, atypical_scores : ndarray of shape (k,)
        High is normal.
    typical_pvalues, atypical_pvalues : ndarray of shape (k,), default=None
        Written in place of the scores.
    typical_indices, atypical_indices : ndarray of shape (k,), default=None
        Which rows of the set they are.
    value_range : tuple of float (low, high), default=None
        The values drawn black and white, or lowest and highest; None takes the
        extremes of what is drawn, or 0 and 255 for bytes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage or None
        All tiles, where they are images.
    lines_ : matplotlib LineCollection or None
        All tiles, where they are not.
    texts_ : list of matplotlib Text
        Below each row, the most typical first.

    Examples
    --------
    >>> from manifoldgen import MahalanobisScorer, TypicalImagesDisplay
    >>> from sklearn.datasets import load_digits
    >>> X, _ = load_digits(return_X_y=True)
    >>> scorer = MahalanobisScorer(random_state=0).fit(X[:1500])
    >>> display = TypicalImagesDisplay.from_estimator(
    ...     scorer, X[1500:], n_images=6, image_shape=(8, 8)
    ... )
    >>> display.typical.shape, [text.get_text() for text in display.texts_[6:8]]
    ((6, 8, 8), ['p = .007', 'p = .007'])
    """

    def __init__(
        self,
        *,
        typical: NDArray[Any],
        atypical: NDArray[Any],
        typical_scores: NDArray[np.float64],
        atypical_scores: NDArray[np.float64],
        typical_pvalues: NDArray[np.float64] | None = None,
        atypical_pvalues: NDArray[np.float64] | None = None,
        typical_indices: NDArray[np.int64] | None = None,
        atypical_indices: NDArray[np.int64] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.typical = typical
        self.atypical = atypical
        self.typical_scores = typical_scores
        self.atypical_scores = atypical_scores
        self.typical_pvalues = typical_pvalues
        self.atypical_pvalues = atypical_pvalues
        self.typical_indices = typical_indices
        self.atypical_indices = atypical_indices
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_images: int = 8,
        pvalues: bool | None = None,
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "TypicalImagesDisplay":
        """Draw the extremes of a set by the score of a fitted estimator.

        Parameters
        ----------
        estimator : estimator, Pipeline or search, fitted
            With `score_samples`.
        X : array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
        n_images : int, default=8
            How many of either end; all rows where that is fewer.
        pvalues : bool, default=None
            Whether p-values are written below the rows, rather than scores; None where
            the estimator, or the last step, has `pvalue`.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `X` holds images or a step of the
            estimator knows their shape; other rows are drawn as lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : TypicalImagesDisplay

        Raises
        ------
        TypeError
            If `estimator` has no `score_samples`, or no `pvalue` where that is asked
            for.
        ValueError
            As `from_scores`.
        """
        head, scorer = scorer_of(estimator)
        rows = rows_of_scorer(head, X)
        scores = answers_of(scorer, "score_samples", rows)
        if pvalues is None:
            pvalues = callable(getattr(scorer, "pvalue", None))
            if isinstance(scorer, DistanceScorer):  # which may have none to compare
                pvalues = len(scorer._calibration()) > 0
        if image_shape is None and np.ndim(X) == 2:
            fitted = getattr(estimator, "best_estimator_", estimator)
            image_shape = shape_given_to(fitted, np.shape(X)[1])
        return cls.from_scores(
            X,
            scores,
            pvalues=answers_of(scorer, "pvalue", rows) if pvalues else None,
            n_images=n_images,
            image_shape=image_shape,
            **plot_kwargs,
        )

    @classmethod
    def from_scores(
        cls,
        X: Any,
        scores: Any,
        *,
        pvalues: Any = None,
        n_images: int = 8,
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "TypicalImagesDisplay":
        """Draw the extremes of a set by scores that are here already.

        Parameters
        ----------
        X : array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
        scores : array-like of shape (n,)
            High is normal; of equal ones the first row is taken.
        pvalues : array-like of shape (n,), default=None
            Written below the rows in place of the scores.
        n_images : int, default=8
            How many of either end; all rows where that is fewer.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `X` holds images; other rows are drawn as
            lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : TypicalImagesDisplay

        Raises
        ------
        ValueError
            If there is not a score for each row, or rows cannot be laid out as images.
        """
        rows, layout = flatten_images(X)
        rows = rows_of(rows)
        given = {"scores": scores, "pvalues": scores if pvalues is None else pvalues}
        numbers = {name: numbers_of(name, values) for name, values in given.items()}
        for name, values in numbers.items():
            if len(values) != len(rows):
                raise ValueError(
                    f"{name} must have one value for each of the {len(rows)} rows, got "
                    f"{len(values)}."
                )
        n_images = min(check_int("n_images", n_images), len(rows))
        layout = tuple(image_shape) if image_shape is not None else layout
        ends = {
            "typical": np.argsort(-numbers["scores"], kind="stable")[:n_images],
            "atypical": np.argsort(numbers["scores"], kind="stable")[:n_images],
        }
        parts: dict[str, Any] = {}
        for name, indices in ends.items():
            parts[name] = tiles_of(rows[indices], layout)
            parts[f"{name}_indices"] = indices
            parts[f"{name}_scores"] = numbers["scores"][indices]
            if pvalues is not None:
                parts[f"{name}_pvalues"] = numbers["pvalues"][indices]
        return cls(**parts).plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        text_kwargs: dict[str, Any] | None = None,
    ) -> "TypicalImagesDisplay":
        """Draw both rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure of a size that suits the tiles.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.
        line_kwargs : dict, default=None
            Handed to `LineCollection`.
        text_kwargs : dict, default=None
            Handed to `Axes.text`, for what is below the rows.

        Returns
        -------
        self : TypicalImagesDisplay
        """
        tiles = np.concatenate([self.typical, self.atypical])
        k = len(self.typical)
        width, height = tile_size(tiles)
        between, below = (gap_of(tiles, share) for share in GAPS)
        lefts = np.arange(k) * (width + between)
        tops = np.arange(2) * (height + below)
        right, bottom = lefts[-1] + width, tops[-1] + height + below
        across, down = figure_size(tiles, right, bottom, TILE_INCHES)
        self.figure_, self.ax_ = figure_and_axes(
            ax, (across + 1.0, down), "TypicalImagesDisplay.plot", layout="compressed"
        )
        self.image_, self.lines_ = draw_tiles(
            self.ax_,
            tiles,
            np.tile(lefts, 2),
            np.repeat(tops, k),
            self.value_range or value_range_of(tiles),
            im_kwargs,
            line_kwargs,
        )
        style = {"ha": "center", "va": "center", "size": 7.5, "color": MUTED}
        kwargs = merged(style, text_kwargs)
        places = [(left, top) for top in tops for left in lefts]
        self.texts_ = [
            self.ax_.text(left + width / 2, top + height + 0.45 * below, text, **kwargs)
            for (left, top), text in zip(places, self._figures(), strict=True)
        ]
        self.ax_.set_ylim(bottom, 0.0)
        self.ax_.set_xticks([])
        self.ax_.set_yticks(tops + height / 2, ROWS)
        self.ax_.tick_params(length=0, labelcolor=INK)
        return self

    def _figures(self) -> list[str]:
        if self.typical_pvalues is None or self.atypical_pvalues is None:
            scores = np.concatenate([self.typical_scores, self.atypical_scores])
            return [f"{score:#.3g}".rstrip(".") for score in scores]
        pvalues = np.concatenate([self.typical_pvalues, self.atypical_pvalues])
        return [pvalue_text(pvalue) for pvalue in pvalues]


def pvalue_text(pvalue: float) -> str:
    """Return a p-value as it is written, without the zero before the point.

    Examples
    --------
    >>> pvalue_text(0.0312), pvalue_text(0.84), pvalue_text(1.0), pvalue_text(2e-9)
    ('p = .03', 'p = .84', 'p = 1', 'p = 2e-09')
    """
    if pvalue >= 0.995:
        return "p = 1"
    if pvalue < 5e-4:
        return f"p = {pvalue:.0e}"
    text = f"{pvalue:.2f}" if pvalue >= 0.0095 else f"{pvalue:.3f}"
    return f"p = {text.removeprefix('0')}"
