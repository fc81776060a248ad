"""From rows to images, and from layers of a network to features."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .backbones import StagedNetwork
from .transformations import TRANSFORMATIONS

_POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean(2),
    "max": lambda maps: maps.amax(2),
    "mean_std": lambda maps: torch.cat([maps.mean(2), spread(maps)], 1),
    "flatten": lambda maps: maps.flatten(1),
}

POOLINGS = tuple(_POOLINGS)
"""Names of the ways in which the places of a map become one row."""


def spread(maps: Tensor) -> Tensor:
    """Return the standard deviation over the last axis, with a slope at 0."""
    variance = maps.var(2, correction=0)
    return (variance + 1e-12).sqrt()


def pool_maps(maps: Tensor, pooling: str) -> Tensor:
    """Return one row for each image of what a layer makes of it.

    Parameters
    ----------
    maps : Tensor
        (n, channels, height, width), tokens (n, tokens, channels), or rows, which come
        back as they are.
    pooling : {"mean", "max", "mean_std", "flatten"}
        What becomes of the places of a map, for each channel.

    Returns
    -------
    rows : Tensor of shape (n, n_features)

    Examples
    --------
    >>> maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    >>> pool_maps(maps, "mean"), pool_maps(maps, "max")
    (tensor([[1.5000, 5.5000]]), tensor([[3., 7.]]))
    """
    if maps.ndim == 2:
        return maps
    places = maps.flatten(2) if maps.ndim > 3 else maps.transpose(1, 2)
    return _POOLINGS[pooling](places)


class LayerFeatures(nn.Module):
    """The pooled layers of a network, side by side.

    Parameters
    ----------
    network : StagedNetwork
    layers : sequence of str
        Some of the names of its layers.
    pooling : {"mean", "max", "mean_std", "flatten"}
        See `pool_maps`.
    at_once : int or None, default=None
        Images that go through the network together; None is all.
    views : sequence of str, default=("same",)
        Names of `TRANSFORMATIONS`. A layer's features are those of the images after
        each of them, side by side.
    """

    def __init__(
        self,
        network: StagedNetwork,
        layers: Sequence[str],
        pooling: str,
        at_once: int | None = None,
        views: Sequence[str] = ("same",),
    ) -> None:
        super().__init__()
        self.network = network
        self.layers = tuple(layers)
        self.pooling = pooling
        self.at_once = at_once
        self.views = tuple(views)

    def groups(self, images: Tensor) -> list[Tensor]:
        """Return the features of each layer, each of shape (n, its width)."""
        by_view = [
            self.network.activations(TRANSFORMATIONS[view](images), self.layers)
            for view in self.views
        ]
        return [
            torch.cat([pool_maps(maps, self.pooling) for maps in layer], 1)
            for layer in zip(*by_view, strict=True)
        ]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, channels, height, width) to features (n, n_features)."""
        if self.at_once is None or len(images) <= self.at_once:
            return torch.cat(self.groups(images), 1)
        parts = images.split(self.at_once)
        return torch.cat([torch.cat(self.groups(part), 1) for part in parts])


class ImageUnits(nn.Module):
    """Rows in units of the data as images that a network takes.

    Shares of the range, ``(x - shift) / scale``, are laid out as images, one channel
    repeated where the network wants three, resized, and normalised by channel.

    Parameters
    ----------
    shift, scale : ndarray of shape (n_features,)
    image_shape : tuple of int
        (channels, height, width) of a row.
    n_channels : int
        Channels of the images: those of a row, or three of one.
    mean, std : sequence of float
        Of each channel of the images, in shares; one number holds for all.
    size : tuple of int or None, default=None
        (height, width) to resize to, bilinearly and, where images shrink, over all
        pixels that one covers.
    """

    shift: Tensor
    scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        shift: NDArray[np.float64],
        scale: NDArray[np.float64],
        image_shape: tuple[int, int, int],
        n_channels: int,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        for name, values in (("shift", shift), ("scale", scale)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))
        for name, figures in (("mean", mean), ("std", std)):
            column = torch.tensor(figures, dtype=torch.float32).reshape(-1, 1, 1)
            self.register_buffer(name, column)
        self.image_shape = image_shape
        self.n_channels = n_channels
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Map rows in units of the data to images, differentiably."""
        return self.normalize(self.shares(x))

    def shares(self, x: Tensor) -> Tensor:
        """Return images (n, channels, height, width) in shares of the range."""
        # in float64 where there is, or large numbers lose what differs between them
        unit = (x.to(self.shift.dtype) - self.shift) / self.scale
        return unit.to(self.mean.dtype).reshape(-1, *self.image_shape)

    def normalize(self, images: Tensor) -> Tensor:
        """Return images in shares of the range as the network takes them."""
        if images.shape[1] != self.n_channels:
            images = images.expand(-1, self.n_channels, -1, -1)
        if self.size is not None and tuple(images.shape[2:]) != self.size:
            images = F.interpolate(
                images, self.size, mode="bilinear", align_corners=False, antialias=True
            )
        return (images - self.mean) / self.std


class RowFeatures(nn.Module):
    """Rows in units of the data to features: `ImageUnits`, then `LayerFeatures`."""

    def __init__(self, units: ImageUnits, features: LayerFeatures) -> None:
        super().__init__()
        self.units = units
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        """Map rows of shape (n, n_features_in) to features of shape (n, n_out)."""
        found: Tensor = self.features(self.units(x))
        return found


def images_at_once(image_shape: Sequence[int], device: str | torch.device) -> int:
    """Return how many images a deep network takes at once, by their size.

    A first layer of 64 channels then holds some 100 MB, and 4 GB on an accelerator.

    Examples
    --------
    >>> images_at_once((3, 224, 224), "cpu"), images_at_once((3, 28, 28), "cpu")
    (10, 668)
    """
    floats = 2**25 if torch.device(device).type == "cpu" else 2**30
    return max(1, floats // (64 * math.prod(image_shape[1:])))
