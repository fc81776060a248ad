"""Generated rows beside the real ones that they are nearest to."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import flatten_images
from ..latent import nearest_real
from ..pipeline import sample_from
from ._cells import shape_given_to
from ._estimators import rows_of
from ._images import value_range_of
from ._style import INK, MUTED, figure_and_axes, merged
from ._tiles import draw_tiles, figure_size, gap_of, tile_size, tiles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TILE_INCHES = 0.75
GAPS = (0.15, 0.5, 0.32)  # of the height: between columns, after the first, below


class NearestRealDisplay:
    """Generated rows, each beside the real rows nearest to it and how far they are.

    It shows whether a generator copies: then the first two of a line are alike, at a
    distance far below those of real rows among themselves.

    Parameters
    ----------
    generated : ndarray of shape (n, H, W), (n, 3, H, W) or (n, n_features)
        The last for rows that are no images, which are drawn as lines.
    nearest : ndarray of shape (n, n_neighbors, H, W), (n, n_neighbors, 3, H, W) or \
(n, n_neighbors, n_features)
        The real rows, the nearest first.
    distances : ndarray of shape (n, n_neighbors)
    indices : ndarray of shape (n, n_neighbors), default=None
        Which of the real rows they are.
    value_range : tuple of float (low, high), default=None
        The values drawn black and white, or lowest and highest; None takes the
        extremes of `nearest`, or 0 and 255 for bytes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage or None
        All tiles, where they are images.
    lines_ : matplotlib LineCollection or None
        All tiles, where they are not.
    distances_ : list of matplotlib Text
        Below each real row.

    See Also
    --------
    nearest_real : The indices and distances.

    Examples
    --------
    >>> from manifoldgen import NearestRealDisplay
    >>> from sklearn.datasets import load_digits
    >>> X, _ = load_digits(return_X_y=True)
    >>> display = NearestRealDisplay.from_samples(
    ...     X[:4], X[4:], n_neighbors=3, image_shape=(8, 8)
    ... )
    >>> display.nearest.shape, display.distances.shape
    ((4, 3, 8, 8), (4, 3))
    """

    def __init__(
        self,
        *,
        generated: NDArray[Any],
        nearest: NDArray[Any],
        distances: NDArray[np.float64],
        indices: NDArray[np.int64] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.generated = generated
        self.nearest = nearest
        self.distances = distances
        self.indices = indices
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X_real: Any,
        n_samples: int = 8,
        *,
        y: Any = None,
        n_neighbors: int = 5,
        manifold: Any = None,
        features: Callable[[Any], Any] | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
        **plot_kwargs: Any,
    ) -> "NearestRealDisplay":
        """Draw samples of a fitted generator beside the nearest real rows.

        Parameters
        ----------
        estimator : Pipeline or generator, fitted
            Whatever `sample_from` can draw from.
        X_real : array-like of shape (n_real, n_features) or images
            Mostly the rows that it was fitted on.
        n_samples : int, default=8
            How many are drawn.
        y : label or array-like of shape (n_samples,), default=None
            Labels to draw, for a conditional generator.
        n_neighbors : int, default=5
            Real rows beside each.
        manifold, features
            Where distances are taken, as in `nearest_real`.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `X_real` holds images or a step of the
            estimator knows their shape; other rows are drawn as lines.
        random_state : int, RandomState or None, default=None
            None draws afresh.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : NearestRealDisplay

        Raises
        ------
        ValueError
            As of `nearest_real`, or if the rows cannot be laid out as images.
        """
        drawn = sample_from(estimator, n_samples, y=y, random_state=random_state)
        if image_shape is None and np.ndim(X_real) == 2:
            image_shape = shape_given_to(estimator, np.shape(X_real)[1])
        return cls.from_samples(
            drawn,
            X_real,
            n_neighbors=n_neighbors,
            manifold=manifold,
            features=features,
            image_shape=image_shape,
            **plot_kwargs,
        )

    @classmethod
    def from_samples(
        cls,
        X_generated: Any,
        X_real: Any,
        *,
        n_neighbors: int = 5,
        manifold: Any = None,
        features: Callable[[Any], Any] | None = None,
        image_shape: tuple[int, ...] | None = None,
        **plot_kwargs: Any,
    ) -> "NearestRealDisplay":
        """Draw generated rows that are here already beside the nearest real ones.

        Parameters
        ----------
        X_generated : array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            All of them are drawn: hand in the ones to look at.
        X_real : array-like of shape (n_real, n_features) or images
        n_neighbors : int, default=5
            Real rows beside each.
        manifold, features
            Where distances are taken, as in `nearest_real`.
        image_shape : tuple of int (C, H, W) or (H, W), default=None
            Layout of a row. None works where `X_real` holds images; other rows are
            drawn as lines.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : NearestRealDisplay

        Raises
        ------
        ValueError
            As of `nearest_real`, or if the rows cannot be laid out as images.
        """
        indices, distances = nearest_real(
            X_generated,
            X_real,
            n_neighbors=n_neighbors,
            manifold=manifold,
            features=features,
        )
        rows, layout = flatten_images(X_real)
        layout = tuple(image_shape) if image_shape is not None else layout
        nearest = tiles_of(rows_of(rows)[indices.ravel()], layout)
        display = cls(
            generated=tiles_of(flatten_images(X_generated)[0], layout),
            nearest=nearest.reshape(*indices.shape, *nearest.shape[1:]),
            distances=distances,
            indices=indices,
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        text_kwargs: dict[str, Any] | None = None,
    ) -> "NearestRealDisplay":
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure of a size that suits the tiles.
        im_kwargs : dict, default=None
            Handed to `Axes.imshow`, such as ``{"cmap": "gray_r"}``.
        line_kwargs : dict, default=None
            Handed to `LineCollection`.
        text_kwargs : dict, default=None
            Handed to `Axes.text`, for the distances.

        Returns
        -------
        self : NearestRealDisplay
        """
        generated, nearest = np.asarray(self.generated), np.asarray(self.nearest)
        tiles = np.concatenate([generated, nearest.reshape(-1, *nearest.shape[2:])])
        width, height = tile_size(tiles)
        between, after, below = (gap_of(tiles, share) for share in GAPS)
        n, k = nearest.shape[:2]
        tops = np.arange(n) * (height + below)
        lefts = width + after + np.arange(k) * (width + between)
        right, bottom = lefts[-1] + width, tops[-1] + height + below
        self.figure_, self.ax_ = figure_and_axes(
            ax,
            figure_size(tiles, right, bottom, TILE_INCHES),
            "NearestRealDisplay.plot",
            layout="compressed",
        )
        self.image_, self.lines_ = draw_tiles(
            self.ax_,
            tiles,
            np.concatenate([np.zeros(n), np.tile(lefts, n)]),
            np.concatenate([tops, np.repeat(tops, k)]),
            self.value_range or value_range_of(nearest),
            im_kwargs,
            line_kwargs,
        )
        self._write_distances(lefts + width / 2, tops + height, below, text_kwargs)
        self.ax_.set_ylim(bottom, 0.0)
        self.ax_.xaxis.tick_top()
        centers = [width / 2, (lefts[0] + right) / 2]
        self.ax_.set_xticks(centers, ["generated", "nearest real, at a distance of"])
        self.ax_.tick_params(length=0, labelcolor=INK)
        return self

    def _write_distances(
        self,
        across: NDArray[Any],
        down: NDArray[Any],
        below: float,
        given: dict[str, Any] | None,
    ) -> None:
        style = {"ha": "center", "va": "center", "size": 7.5, "color": MUTED}
        kwargs = merged(style, given)
        self.distances_ = [
            self.ax_.text(x, y + below / 2, f"{distance:#.3g}".rstrip("."), **kwargs)
            for y, distances in zip(down, np.asarray(self.distances), strict=True)
            for x, distance in zip(across, distances, strict=True)
        ]
