"""Latent arithmetic as a row of pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..latent import invertible_part, mean_latents
from ._cells import decode_cells
from ._images import value_range_of
from ._style import INK, figure_and_axes, merged
from ._tiles import draw_tiles, figure_size, gap_of, tile_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TILE_INCHES = 1.1
GAP = 0.4  # of the height of a tile, for a sign


class LatentArithmeticDisplay:
    """Groups of rows at their mean latents, with signs between them, and the result.

    Rows of data that are no images are drawn as lines, value by value from left to
    right, all on one scale.

    Parameters
    ----------
    tiles : ndarray of shape (n_groups + 1, H, W), (n_groups + 1, 3, H, W) or \
(n_groups + 1, n_features)
        What the manifold makes of the mean latents of each group, and of the result.
    signs : sequence of {"+", "-"}
        Of each group.
    names : sequence of str, default=()
        Of each group and the result; none are drawn for an empty one.
    latents : ndarray of shape (n_groups + 1, n_components), default=None
        What was decoded.
    value_range : tuple of float (low, high), default=None
        The values drawn black and white, or lowest and highest; None takes the
        extremes of `tiles`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage or None
        All tiles, where they are images.
    lines_ : matplotlib LineCollection or None
        All tiles, where they are not.
    signs_ : list of matplotlib Text
        Those between the tiles.

    See Also
    --------
    latent_arithmetic : The row of data that is drawn last.

    Examples
    --------
    >>> from manifoldgen import LatentArithmeticDisplay
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_digits(return_X_y=True)
    >>> pca = PCA(16).fit(X)
    >>> display = LatentArithmeticDisplay.from_estimator(
    ...     pca, [X[y == 9], X[y == 0]], [X[y == 1]], image_shape=(8, 8)
    ... )
    >>> display.tiles.shape, [sign.get_text() for sign in display.signs_]
    ((4, 8, 8), ['+', '−', '='])
    """

    def __init__(
        self,
        *,
        tiles: NDArray[Any],
        signs: Sequence[str],
        names: Sequence[str] = (),
        latents: NDArray[Any] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.tiles = tiles
        self.signs = signs
        self.names = names
        self.latents = latents
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        add: Sequence[Any],
        subtract: Sequence[Any] = (),
        *,
        names: Sequence[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "LatentArithmeticDisplay":
        """Draw what a fitted manifold makes of a sum and difference of groups.

        Parameters
        ----------
        estimator : manifold or Pipeline, fitted
            With `transform` and `inverse_transform`; a last step of a Pipeline that
            only generates is left out.
        add, subtract : list of array-like, each of shape (n, n_features) or images
            Groups of rows, as `latent_arithmetic` takes them.
        names : sequence of str, default=None
            Of each group in `add` and `subtract`, and of the result if one more; None
            tells how many rows a group has.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `inverse_transform` gives images or a
            step knows their shape; other rows are drawn as lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : LatentArithmeticDisplay

        Raises
        ------
        TypeError
            If `estimator` cannot go there and back, or `add` or `subtract` is no list.
        ValueError
            If no group is given, one is empty, or `names` has another length.
        """
        manifold = invertible_part(estimator)
        added, subtracted, sizes = mean_latents(manifold, add, subtract)
        result = added.sum(axis=0) - subtracted.sum(axis=0)
        latents = np.concatenate([added, subtracted, result[None]])
        signs = ["+"] * len(added) + ["-"] * len(subtracted)
        tiles = decode_cells(manifold, latents[None], image_shape)[0]
        display = cls(
            tiles=tiles,
            signs=signs,
            names=_check_names(names, sizes),
            latents=latents,
            value_range=_range_of([*add, *subtract]) if tiles.ndim > 2 else None,
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        sign_kwargs: dict[str, Any] | None = None,
    ) -> "LatentArithmeticDisplay":
        """Draw the sum.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure of a size that suits the tiles.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.
        line_kwargs : dict, default=None
            Handed to `LineCollection`.
        sign_kwargs : dict, default=None
            Handed to `Axes.text`, for the signs.

        Returns
        -------
        self : LatentArithmeticDisplay
        """
        tiles = np.asarray(self.tiles)
        width, height = tile_size(tiles)
        gap = gap_of(tiles, GAP)
        leading = gap if self.signs[0] == "-" else 0.0
        lefts = leading + np.arange(len(tiles)) * (width + gap)
        size = figure_size(tiles, lefts[-1] + width, height, TILE_INCHES)
        self.figure_, self.ax_ = figure_and_axes(
            ax, size, "LatentArithmeticDisplay.plot", layout="compressed"
        )
        self.image_, self.lines_ = draw_tiles(
            self.ax_,
            tiles,
            lefts,
            np.zeros(len(tiles)),
            self.value_range or value_range_of(tiles),
            im_kwargs,
            line_kwargs,
        )
        style = {"ha": "center", "va": "center", "size": 18, "color": INK}
        kwargs = merged(style, sign_kwargs)
        self.signs_: list[Any] = []
        for left, sign in zip(lefts, [*self.signs, "="], strict=True):
            if left > 0:  # nothing is before a first group that is added
                text = "\N{MINUS SIGN}" if sign == "-" else sign
                place = (left - gap / 2, height / 2)
                self.signs_.append(self.ax_.text(*place, text, **kwargs))
        names = list(self.names)
        self.ax_.set_xticks(lefts + width / 2 if names else [], names)
        return self


def _range_of(groups: Sequence[Any]) -> tuple[float, float]:
    """Return the values drawn black and white: those of the data, not of their sum."""
    lows, highs = zip(*(value_range_of(np.asarray(g)) for g in groups), strict=True)
    return min(lows), max(highs)


def _check_names(names: Sequence[str] | None, sizes: list[int]) -> list[str]:
    if names is None:
        named = [f"mean of {n}" if n > 1 else "one row" for n in sizes]
        return [*named, "result"]
    if isinstance(names, str) or len(names) not in (len(sizes), len(sizes) + 1):
        raise ValueError(
            f"names must hold one for each of the {len(sizes)} groups, and perhaps "
            f"one for the result, got {names!r}."
        )
    return [*names, "result"][: len(sizes) + 1]
