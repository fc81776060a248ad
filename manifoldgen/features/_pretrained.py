"""Features by a network that is not trained here: from a file of weights, or random."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from .._random import draw_seed, isolated_streams, random_state_of, torch_generator
from .._validation import check_int, check_real
from ..base import resolve_device, unchanged_on_error
from ..nn.backbones import (
    BACKBONES,
    FeatureNetwork,
    HookedNetwork,
    StagedNetwork,
    vgg_or_resnet,
)
from ._base import FeatureTransformer
from ._weights import load_weights

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of its pixels
_OWN_CHANNELS = (16, 32, 64)


class PretrainedFeatures(FeatureTransformer):
    """Map images to layers of a VGG, a ResNet or a network of your own.

    Weights come from a local file, and nothing is ever downloaded. Without a file the
    weights are random, and so the features are called: `is_random_` is True, and names
    of columns begin with "randomfeatures". Random features of convolutions keep edges
    and places, know nothing of what images show, and are what learned ones must beat.

    Parameters
    ----------
    backbone : str, class or callable, default=None
        "vgg11", "vgg13", "vgg16", "vgg19", each also with "_bn" behind for batch
        normalisation, or "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
        whose files of weights are torchvision's. A class, or a function, called without
        arguments (with ``image_shape=`` where it takes it) builds a `torch.nn.Module`
        from images (n, channels, height, width) to maps or rows. None is a small
        network of three convolutions.
    weights : str or path-like, default=None
        Local file of the weights, by `torch.save` of a `state_dict` or by safetensors,
        read as data: code in it is refused. None draws random weights.
    layers : str or tuple of str, default=None
        Layers whose features are set side by side: "relu1_1" to "pool5" of a VGG,
        "stem", "layer1" to "layer4" of a ResNet, "conv1" to "conv3" of None, the
        names of the modules, or "output", of a class. None is the last one.
    pooling : {"mean", "max", "mean_std", "flatten"}, default="mean"
        What becomes of the places of a layer, channel by channel: their mean, their
        maximum, mean and standard deviation, or all of them as they are.
    size : int or tuple of int, default=None
        Side, or height and width, to resize images to first, bilinearly and, where they
        shrink, over all pixels that one covers. None leaves them.
    mean, std : float or tuple of float, default=None
        Subtracted from, and divided into, each channel of an image in [0, 1]. None is
        those of ImageNet for a VGG or a ResNet, else 0 and 1.
    image_shape : tuple of int, default=None
        (channels, height, width) of a row. None takes it from an (n, height, width) or
        (n, channels, height, width) array; a 2-D row is a (1, 1, n_features) strip. One
        channel is repeated where the network takes three.
    batch_size : int, default=None
        Images that go through the network at once; None chooses by their size. It
        changes the features at most by rounding.
    device : str, default="auto"
        "auto" is CUDA, then MPS, then the CPU.
    random_state : int, RandomState or None, default=0
        Seed of random weights, the same ones at each fit by default. None draws others
        each time.

    Attributes
    ----------
    network_ : torch.nn.Module
        The network, in evaluation mode, on `device_`.
    is_random_ : bool
        Whether the weights are random.
    weights_sha256_ : str or None
        SHA-256 of the file of weights.
    description_ : str
        What to call the features in a table, such as "random features of vgg16".
    layers_ : tuple of str
        The layers that are taken.
    group_lengths_ : tuple of int
        How many features each of them has, in the order of the columns.
    image_shape_ : tuple of int
        (channels, height, width) of a row.
    shift_, scale_ : ndarray of shape (n_features,), float64
        Images in [0, 1] are ``(x - shift_) / scale_``: uint8 from 0 to 255, floats
        from 0 to 1 where all are inside, else between the extremes of the training
        rows. Strips are standardised by columns.
    device_ : str
        Where the network is.
    n_features_in_ : int
        Number of pixels of a row, over all channels.

    Raises
    ------
    FileNotFoundError
        By `fit`: no file of weights there.
    TypeError, ValueError
        By `fit`: a parameter outside its range; a file that is damaged, holds code, or
        is of another network; an unknown layer; images too small for the network.

    References
    ----------
    .. [1] K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale
       image recognition", ICLR 2015, arXiv:1409.1556.
    .. [2] K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image
       recognition", CVPR 2016, arXiv:1512.03385.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import PretrainedFeatures
    >>> X, _ = load_digits(return_X_y=True)
    >>> features = PretrainedFeatures(
    ...     layers=("conv1", "conv2"), image_shape=(1, 8, 8), random_state=0
    ... )
    >>> features.fit_transform(X).shape, features.group_lengths_
    ((1797, 48), (16, 32))
    >>> features.description_
    'random features of a small network'
    """

    def __init__(
        self,
        backbone: str | Callable[..., nn.Module] | None = None,
        *,
        weights: Any = None,
        layers: str | Sequence[str] | None = None,
        pooling: Literal["mean", "max", "mean_std", "flatten"] = "mean",
        size: int | tuple[int, int] | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        batch_size: int | None = None,
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.layers = layers
        self.pooling = pooling
        self.size = size
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Build the network, load its weights, and learn the range of pixels of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            Images are (n, height, width) or (n, channels, height, width).
        y : None
            Ignored.

        Returns
        -------
        self : PretrainedFeatures
        """
        with unchanged_on_error(self):
            self._check_parameters()
            rows = self._validate_rows(X, reset=True)
            self._learn_layout(rows)
            seed = draw_seed(random_state_of(self.random_state))
            network = self._new_network(seed)
            self._learn_channels(network)
            self._load(network)
            network.eval().requires_grad_(False)
            self._learn_layers(network, network.stage_names[-1:])
            self.device_ = str(resolve_device(self.device))
            self.network_ = network.to(self.device_)
        return self

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the features, "randomfeatures0" and on of random weights.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of shape (sum(group_lengths_),), object
        """
        names = super().get_feature_names_out(input_features)
        if self.is_random_:
            names = np.array([f"randomfeatures{k}" for k in range(len(names))], object)
        return names

    @property
    def _network(self) -> StagedNetwork:
        return self.network_

    @property
    def _at_once(self) -> int:
        return self.batch_size or super()._at_once

    @property
    def _is_foreign(self) -> bool:
        return callable(self.backbone)

    def _check_parameters(self) -> None:
        self._check_features()
        known = self.backbone is None or self.backbone in BACKBONES
        instance = isinstance(self.backbone, nn.Module)
        if instance or not (known or callable(self.backbone)):
            raise (ValueError if isinstance(self.backbone, str) else TypeError)(
                f"backbone must be None, one of {', '.join(BACKBONES)}, or a class or "
                f"function that builds a torch.nn.Module, got {self.backbone!r}."
                + (" Pass the class itself, not an instance." if instance else "")
            )
        if self.batch_size is not None:
            check_int("batch_size", self.batch_size)

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        return {"network_": self._new_network(seed)}

    def _new_network(self, seed: int) -> StagedNetwork:
        generator = torch_generator(seed)
        if isinstance(self.backbone, str):
            return vgg_or_resnet(self.backbone, generator)
        if self.backbone is None:
            shape = self.image_shape_
            return FeatureNetwork(shape, _OWN_CHANNELS, generator=generator)
        with isolated_streams(seed):
            return HookedNetwork(self._call_backbone())

    def _call_backbone(self) -> nn.Module:
        """Build a network of the user's, and say which one where it fails."""
        build: Any = self.backbone
        try:
            if "image_shape" in inspect.signature(build).parameters:
                module = build(image_shape=self.image_shape_)
            else:
                module = build()
        except Exception as error:
            error.add_note(f"Raised by backbone={build!r}, called without arguments.")
            raise
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"backbone must build a torch.nn.Module, got {type(module).__name__}."
            )
        return module

    def _learn_channels(self, network: StagedNetwork) -> None:
        """Fix channels, size and normalisation of the images that `network` takes."""
        n_given, n_taken = self.image_shape_[0], network.n_channels or 0
        self._n_channels = n_taken if n_given == 1 and n_taken == 3 else n_given
        if n_taken not in (0, self._n_channels):
            raise ValueError(
                f"X must hold images of {n_taken} channels, or of 1 where that is 3, "
                f"as backbone={self.backbone!r} takes them, got {n_given}. Pass "
                "image_shape=(channels, height, width), or leave channels out."
            )
        self._size = self._checked_size()
        mean, std = _IMAGENET if isinstance(self.backbone, str) else ((0.0,), (1.0,))
        self._mean = self._by_channel("mean", mean)
        self._std = self._by_channel("std", std)

    def _checked_size(self) -> tuple[int, int] | None:
        if self.size is None:
            return None
        sides: Any = (self.size,) * 2 if np.ndim(self.size) == 0 else self.size
        if isinstance(sides, str) or len(sides) != 2:
            raise ValueError(
                "size must be None, a side or (height, width) in pixels, got "
                f"{self.size!r}."
            )
        return check_int("size", sides[0]), check_int("size", sides[1])

    def _by_channel(self, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        value = getattr(self, name)
        if value is None:
            return default
        figures = (value,) if np.ndim(value) == 0 else tuple(value)
        if len(figures) not in (1, self._n_channels):
            raise ValueError(
                f"{name} must be None, a number or one for each of the "
                f"{self._n_channels} channels, got {value!r}."
            )
        low, closed = (0.0, "neither") if name == "std" else (-np.inf, "both")
        return tuple(check_real(name, figure, low, closed=closed) for figure in figures)

    def _load(self, network: StagedNetwork) -> None:
        """Put the weights of the file, where there is one, into `network`."""
        what = "a small network"
        if self.backbone is not None:
            what = getattr(self.backbone, "__name__", str(self.backbone))
        self.is_random_ = self.weights is None
        self.weights_sha256_ = None
        self.description_ = f"random features of {what}"
        if self.weights is not None:
            target = network.module if isinstance(network, HookedNetwork) else network
            unused = getattr(network, "unused", ())
            digest = load_weights(target, self.weights, what=what, unused=unused)
            self.weights_sha256_ = digest
            self.description_ = f"{what}, weights {digest[:12]}"

    def _try_out(self, network: StagedNetwork) -> list[Tensor]:
        shape = (self._n_channels, *(self._size or self.image_shape_[1:]))
        try:
            with isolated_streams(0):
                groups = super()._try_out(network)
        except RuntimeError as error:
            raise ValueError(
                f"backbone={self.backbone!r} cannot take images of shape {shape} up to "
                f"layers {self.layers_}: they are too small for it, or of another "
                "layout. Pass a larger size=, such as 224, or an earlier layer. "
                f"({str(error).splitlines()[0]})"
            ) from error
        for name, found in zip(self.layers_, groups, strict=True):
            if found.ndim != 2 or len(found) != 2:
                raise ValueError(
                    f"layers must name layers that return rows or maps, one an image, "
                    f"and {name!r} returned a tensor of shape {tuple(found.shape)} of "
                    "2 images."
                )
        return groups
