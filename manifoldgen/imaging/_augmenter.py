"""Random changes of images as a transformer."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor

from .._arrays import image_shape_of, refuse_channels_last
from .._random import draw_seed, random_state_of, row_streams
from .._validation import check_int, check_real
from ..base import BaseTorchEstimator, resolve_device, unchanged_on_error
from ..nn import apply_augmentation, check_augment, count_uniforms, map_rows


class ImageAugmenter(OneToOneFeatureMixin, TransformerMixin, BaseTorchEstimator):
    """Change images at random in ways that keep what they show.

    For training sets that are too small: a classifier that has seen each image turned,
    shifted and scaled a little finds more of the others. `augment` returns changed
    copies, with their labels, to train on together with the originals. Choose
    operations that keep the label: a 6 turned by 180 degrees is a 9, and flipped
    letters are none.

    In a Pipeline, `transform` changes what it is given at prediction as it does in
    `fit`, so it measures how a model bears such changes, and is not the way to train
    one. To change the training rows alone, call `augment` before `fit`, give networks
    of this package ``augment=`` of their own, which changes each batch anew, or put a
    `GenerativeAugmenter`, whose `fit_resample` acts in `fit` alone, into the Pipeline
    of imbalanced-learn.

    Parameters
    ----------
    operations : mapping of str to float, or sequence of str, \
default=("rotate", "scale", "shift")
        What is done, in the strength that a mapping gives or by default: "flip"
        (probability, .5), "rotate" (degrees, 12), "scale" (share, .12), "crop" (share
        of the sides, .2), "shift" (share of the sides, .08), "color" (share of the
        range, .2), "noise" (standard deviation in shares of the range, .05) and
        "cutout" (share of the sides, .25); see `manifoldgen.nn.augment`.
    image_shape : tuple of int, default=None
        (channels, height, width) of a row. None takes it from an (n, height, width) or
        (n, channels, height, width) array; a 2-D row is a (1, 1, n_features) strip.
    value_range : tuple of float, default=None
        Lowest and highest value of a pixel, which results keep to. None is 0 to 255
        for uint8 images, else the extremes of X in `fit`.
    device : str, default="auto"
        "auto" is CUDA, then MPS, then the CPU.
    random_state : int, RandomState or None, default=None
        Seed of what `transform` does.

    Attributes
    ----------
    image_shape_ : tuple of int
        (channels, height, width).
    value_range_ : tuple of float
        Lowest and highest value of a pixel.
    device_ : str
        Where images are changed.
    n_features_in_ : int
        Number of pixels of a row, over all channels.

    Raises
    ------
    TypeError, ValueError
        By `fit`: a parameter outside its range, an `image_shape` that does not match;
        by every method: values outside a declared `value_range`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import ImageAugmenter
    >>> X, y = load_digits(return_X_y=True)
    >>> augmenter = ImageAugmenter({"rotate": 10.0, "shift": 0.125},
    ...                            image_shape=(1, 8, 8), random_state=0)
    >>> X_more, y_more = augmenter.fit(X).augment(X, y, n_copies=3, random_state=0)
    >>> X_more.shape, y_more.shape
    ((5391, 64), (5391,))
    """

    def __init__(
        self,
        operations: Mapping[str, float] | Sequence[str] = ("rotate", "scale", "shift"),
        *,
        image_shape: tuple[int, int, int] | None = None,
        value_range: tuple[float, float] | None = None,
        device: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.operations = operations
        self.image_shape = image_shape
        self.value_range = value_range
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the layout and the range of values of `X`, and draw a seed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            Images are (n, height, width) or (n, channels, height, width).
        y : None
            Ignored.

        Returns
        -------
        self : ImageAugmenter
        """
        with unchanged_on_error(self):
            check_augment(self.operations, "operations")
            rows = self._validate_rows(X, reset=True)
            refuse_channels_last(self.image_shape, self._shape_in)
            self.image_shape_ = image_shape_of(
                self.image_shape, self._shape_in, rows.shape[1]
            )
            self.value_range_ = self._find_range(rows)
            self._check_values(rows)
            self.device_ = str(resolve_device(self.device))
            self._seed = draw_seed(random_state_of(self.random_state))
        return self

    def transform(self, X: Any) -> Any:
        """Return a changed copy of each image.

        What happens to an image follows from the image and the seed of `fit` alone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them

        Returns
        -------
        changed : ndarray of the shape of X, float32
            In the units of the data.
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        self._check_values(rows)
        changed = self._change(rows, self._seed)
        # a frame comes back where set_output asks for one
        return changed if self._shape_in is None else self._in_layout(changed)

    def augment(
        self, X: Any, y: Any = None, n_copies: int = 1, random_state: Any = None
    ) -> Any:
        """Return changed copies of images, to train on together with the originals.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them
        y : array-like of shape (n_samples, ...), default=None
            Labels, which the copies keep.
        n_copies : int, default=1
            Copies of each image, each changed in its own way.
        random_state : int, RandomState or None, default=None
            None draws afresh at each call.

        Returns
        -------
        X_new : ndarray of n_copies * n_samples rows, float32
            Without the originals: first one copy of each, in the order of X, then the
            next. A data frame where `fit` saw one.
        y_new : ndarray of shape (n_copies * n_samples, ...)
            Given back where `y` is given.
        """
        check_is_fitted(self)
        n_copies = check_int("n_copies", n_copies)
        if y is not None:
            check_consistent_length(X, y)
        rows = self._validate_rows(X, reset=False)
        self._check_values(rows)
        rng = random_state_of(random_state)
        copies = [self._change(rows, draw_seed(rng)) for _ in range(n_copies)]
        X_new = self._in_layout(np.concatenate(copies))
        if y is None:
            return X_new
        return X_new, np.concatenate([np.asarray(y)] * n_copies)

    def _change(self, rows: NDArray[Any], seed: int) -> NDArray[np.float32]:
        """Return changed rows in float32, each by numbers that it and `seed` give."""
        strengths = check_augment(self.operations, "operations")
        low, high = self.value_range_
        span, n_pixels = (high - low) or 1.0, rows.shape[1]
        n_uniforms = count_uniforms(strengths)
        n_normals = n_pixels if strengths.get("noise") else 0

        def with_numbers(part: NDArray[Any]) -> NDArray[np.float32]:
            out = np.empty((len(part), n_pixels + n_uniforms + n_normals), np.float32)
            out[:, :n_pixels] = (part.astype(np.float64) - low) / span
            for row, stream in zip(out, row_streams(part, seed), strict=True):
                row[n_pixels : n_pixels + n_uniforms] = stream.random(n_uniforms)
                row[n_pixels + n_uniforms :] = stream.standard_normal(n_normals)
            return out

        def change(block: Tensor) -> Tensor:
            pixels, uniforms, normals = block.split(
                (n_pixels, n_uniforms, n_normals), dim=1
            )
            images = pixels.reshape(-1, *self.image_shape_)
            noise = normals.reshape(images.shape) if n_normals else None
            changed = apply_augmentation(images, strengths, uniforms, noise)
            return changed.clamp(0.0, 1.0).flatten(1)

        unit = map_rows(change, rows, self.device_, with_numbers)
        # float64 between, so that an unchanged pixel comes back as it was
        return (unit.astype(np.float64) * span + low).astype(np.float32)

    def _find_range(self, rows: NDArray[Any]) -> tuple[float, float]:
        if self.value_range is None:
            if rows.dtype == np.uint8:
                return 0.0, 255.0
            return float(rows.min()), float(rows.max())
        message = (
            "value_range must be None or two numbers, the lowest and the highest value "
            f"of a pixel, got {self.value_range!r}."
        )
        if isinstance(self.value_range, str) or np.shape(self.value_range) != (2,):
            raise ValueError(message)
        low, high = (check_real("value_range", value) for value in self.value_range)
        if low >= high:
            raise ValueError(message)
        return low, high

    def _check_values(self, rows: NDArray[Any]) -> None:
        """Raise where values are outside a range that was declared."""
        if self.value_range is None:
            return
        low, high = self.value_range_
        if rows.min() < low or rows.max() > high:
            raise ValueError(
                f"X must have values in value_range={self.value_range!r}, got some in "
                f"[{rows.min():g}, {rows.max():g}]. Rescale X, or declare the range "
                "that it has."
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
