"""What all extractors share: rows to images, layers to features, one network."""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._arrays import (
    column_moments,
    image_shape_of,
    refuse_channels_last,
    standardize,
)
from .._random import isolated_streams
from .._validation import check_choice
from ..base import BaseTorchEstimator
from ..nn import map_rows
from ..nn.backbones import StagedNetwork
from ..nn.features import (
    POOLINGS,
    ImageUnits,
    LayerFeatures,
    RowFeatures,
    images_at_once,
)


class FeatureTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseTorchEstimator
):
    """Images -> rows of features, by layers of a network that a subclass fits.

    The network sees shares of the range of pixels: of 0 to 255 for uint8, of 0 to 1 for
    floats inside it, else of the extremes of the training rows. A strip, a row without
    an image shape, is standardised by columns in place of that.
    """

    _networks: tuple[str, ...] = ("network_",)
    _mean: tuple[float, ...] = (0.0,)
    _std: tuple[float, ...] = (1.0,)
    _size: tuple[int, int] | None = None
    _n_channels: int
    _views: tuple[str, ...] = ("same",)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the features of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them

        Returns
        -------
        features : ndarray of shape (n_samples, sum(group_lengths_)), float32
            Those of a row do not depend on the rows that come with it.
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        return self._map(self._features(self._network), rows)

    def to_module(self) -> nn.Module:
        """Return a frozen network from rows to features, differentiable in the rows.

        Returns
        -------
        module : torch.nn.Module
            Maps float tensors (n_samples, n_features), in units of the data, to what
            `transform` returns of them, to rounding. On `device_`; a copy.
        """
        check_is_fitted(self)
        network = copy.deepcopy(self._network)
        module = RowFeatures(self._units(), self._features(network))
        return module.to(self.device_).eval().requires_grad_(False)

    @property
    def _n_features_out(self) -> int:
        return sum(self.group_lengths_)

    @property
    def _network(self) -> StagedNetwork:
        """The fitted network, of which `layers` are."""
        raise NotImplementedError

    @property
    def _at_once(self) -> int:
        """How many images the network takes at once, lest large ones fill memory."""
        sides = self._size or self.image_shape_[1:]
        device = getattr(self, "device_", "cpu")
        return images_at_once((self._n_channels, *sides), device)

    @property
    def _is_foreign(self) -> bool:
        return False

    @property
    def _is_strip(self) -> bool:
        return self.image_shape_[:2] == (1, 1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _map(
        self, function: Callable[[Tensor], Tensor], rows: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Apply a function of images, as the network takes them, to rows of data."""
        units = self._units().to(self.device_)

        def answer(shares: Tensor) -> Tensor:
            images = shares.reshape(-1, *self.image_shape_)
            return function(units.normalize(images))

        with isolated_streams(0) if self._is_foreign else nullcontext():
            return map_rows(
                answer,
                rows,
                self.device_,
                lambda part: standardize(part, self.shift_, self.scale_),
                alone=self._is_foreign,
            )

    def _features(self, network: StagedNetwork) -> LayerFeatures:
        return LayerFeatures(
            network, self.layers_, self.pooling, self._at_once, self._views
        )

    def _units(self) -> ImageUnits:
        return ImageUnits(
            self.shift_,
            self.scale_,
            self.image_shape_,
            self._n_channels,
            self._mean,
            self._std,
            self._size,
        )

    def _check_features(self) -> None:
        """Check the parameters that say which features there are."""
        check_choice("pooling", self.pooling, POOLINGS)
        self._wanted_layers()

    def _wanted_layers(self) -> tuple[str, ...] | None:
        """Return the names in `layers`, None where it is None."""
        if self.layers is None:
            return None
        names = (self.layers,) if isinstance(self.layers, str) else self.layers
        if not isinstance(names, Sequence) or not names:
            raise TypeError(
                "layers must be None, the name of a layer or a tuple of names, got "
                f"{self.layers!r}."
            )
        if len({*names}) < len(names):
            raise ValueError(
                f"layers must name each layer once, got {self.layers!r}. Leave out "
                "the repeated ones."
            )
        return tuple(names)

    def _learn_layout(self, rows: NDArray[Any]) -> None:
        """Fix what a row is: an image or a strip, and its range."""
        refuse_channels_last(self.image_shape, self._shape_in)
        n_features = rows.shape[1]
        self.image_shape_ = image_shape_of(self.image_shape, self._shape_in, n_features)
        self._n_channels = self.image_shape_[0]
        if self._is_strip:
            self.shift_, std = column_moments(rows)
            self.scale_ = np.where(std == 0.0, 1.0, std)
            return
        low, high = range_of(rows)
        self.shift_ = np.full(n_features, low)
        self.scale_ = np.full(n_features, (high - low) or 1.0)

    def _learn_layers(self, network: StagedNetwork, default: tuple[str, ...]) -> None:
        """Fix which layers are taken and how wide each is, by two blank images."""
        names = network.stage_names
        wanted = self._wanted_layers() or default
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise ValueError(
                f"layers must name layers of the network, {', '.join(names)}, got "
                f"{unknown[0]!r}."
            )
        self.layers_ = wanted
        groups = self._try_out(network)
        self.group_lengths_ = tuple(int(found.shape[1]) for found in groups)

    def _try_out(self, network: StagedNetwork) -> list[Tensor]:
        """Return the features of two blank images."""
        device = next(network.parameters(), torch.empty(0)).device
        blank = torch.zeros(2, math.prod(self.image_shape_), device=device)
        training = network.training
        network.eval()
        with torch.no_grad():
            images = self._units().to(device)(blank)
            groups = self._features(network).groups(images)
        network.train(training)
        return groups


def range_of(rows: NDArray[Any]) -> tuple[float, float]:
    """Return the lowest and the highest value that a pixel may have.

    Examples
    --------
    >>> import numpy as np
    >>> range_of(np.array([[0.1, 0.9]])), range_of(np.array([[3, 9]], np.uint8))
    ((0.0, 1.0), (0.0, 255.0))
    >>> range_of(np.array([[0.0, 16.0]]))
    (0.0, 16.0)
    """
    if rows.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(rows.min()), float(rows.max())
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)
