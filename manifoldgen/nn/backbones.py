"""Networks of images whose layers have names, to take features from.

`VGG` and `ResNet` call their parameters what torchvision calls them, so its files of
weights fit as they are; the classifier at the end is left out.
"""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .modules import MLP, linear

Stage = Callable[[Tensor], Tensor]


def convolution(
    n_in: int,
    n_out: int,
    kernel: int,
    generator: torch.Generator | None = None,
    *,
    stride: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """Return a padded convolution with normal weights of variance ``2 / n_in``.

    By He et al. 2015, arXiv:1502.01852, where n_in counts all inputs of a window;
    biases are 0.
    """
    layer = nn.utils.skip_init(
        nn.Conv2d,
        n_in,
        n_out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        bias=bias,
    )
    with torch.no_grad():
        std = math.sqrt(2.0 / (n_in * kernel**2))
        layer.weight.normal_(0.0, std, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
    return cast(nn.Conv2d, layer)


class StagedNetwork(nn.Module):
    """Layers one after another, each under a name.

    A subclass sets `stage_names` and gives `stages`.

    Attributes
    ----------
    stage_names : tuple of str
        Names of the layers, from input to output.
    n_channels : int or None
        Channels of the images it takes; None where nobody knows.
    """

    stage_names: tuple[str, ...] = ()
    n_channels: int | None = None

    def stages(self) -> list[Stage]:
        """Return the layers, from input to output."""
        raise NotImplementedError

    def activations(self, images: Tensor, names: Collection[str]) -> list[Tensor]:
        """Return what the layers `names` make of images, and compute no layer behind.

        Parameters
        ----------
        images : Tensor of shape (n, channels, height, width)
        names : collection of str
            Some of `stage_names`.
        """
        found: dict[str, Tensor] = {}
        for name, stage in zip(self.stage_names, self.stages(), strict=True):
            images = stage(images)
            if name in names:
                found[name] = images
            if len(found) == len(names):
                break
        return [found[name] for name in names]

    def forward(self, images: Tensor) -> Tensor:
        """Return what the last layer makes of images."""
        return self.activations(images, self.stage_names[-1:])[0]


class FeatureNetwork(StagedNetwork):
    """A few convolutions, each followed by a mean over squares of 2 pixels, and layers.

    Layers are called "conv1" and on, "hidden1" and on; each ends with its activation.
    Means, not maxima: a maximum follows the contrast of a stroke before its shape.
    Weights of one size in all layers keep random features of a depth comparable.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width); any height and width from 1 on.
    channels : sequence of int, default=(16, 32)
        Channels of the convolutions.
    hidden_sizes : sequence of int, default=()
        Widths of the layers behind them, on all that they return.
    activation : str, default="relu"
        One of `manifoldgen.nn.ACTIVATIONS`.
    dropout : float, default=0.0
        Probability with which what enters a hidden layer is zeroed in training.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.

    Examples
    --------
    >>> import torch
    >>> network = FeatureNetwork((1, 8, 8), (4, 6), (10,), generator=torch.Generator())
    >>> network.stage_names, network(torch.rand(5, 1, 8, 8)).shape
    (('conv1', 'conv2', 'hidden1'), torch.Size([5, 10]))
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int] = (16, 32),
        hidden_sizes: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        depth, height, width = image_shape
        self.n_channels = depth
        self.convolutions = nn.ModuleList(
            convolution(n_in, n_out, 3, generator)
            for n_in, n_out in pairwise((depth, *channels))
        )
        for n_out in channels:
            depth, height, width = n_out, (height + 1) // 2, (width + 1) // 2
        sizes = (depth * height * width, *hidden_sizes)
        # a perceptron lends its activation and dropout; its layers are stages here
        self.perceptron = MLP((1, 1), activation, dropout, generator)
        self.perceptron.layers = nn.ModuleList(
            linear(a, b, generator) for a, b in pairwise(sizes)
        )
        self.stage_names = tuple(
            [f"conv{k + 1}" for k in range(len(channels))]
            + [f"hidden{k + 1}" for k in range(len(hidden_sizes))]
        ) or ("pixels",)

    def stages(self) -> list[Stage]:
        """Return the layers, from input to output."""
        if self.stage_names == ("pixels",):
            return [lambda images: images]
        convolutions = cast(list[nn.Conv2d], list(self.convolutions))
        return [
            *[partial(self._convolve, layer) for layer in convolutions],
            *[partial(self._hide, layer) for layer in self.linears],
        ]

    @property
    def linears(self) -> list[nn.Linear]:
        """The hidden layers, from input to output."""
        return self.perceptron.linears

    def _convolve(self, layer: nn.Conv2d, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        images = self.perceptron.activate(layer(images))
        # a side of one pixel stays; an odd one keeps its last pixel
        kernel = [min(2, side) for side in images.shape[2:]]
        return F.avg_pool2d(images, kernel, ceil_mode=True)

    def _hide(self, layer: nn.Linear, x: Tensor) -> Tensor:
        x = self.perceptron.dropout(x.flatten(1))
        return self.perceptron.activate(F.linear(x, layer.weight, layer.bias))


class HeadedNetwork(StagedNetwork):
    """A network and, as its last layer, "output", a head on what it returns.

    Parameters
    ----------
    network : StagedNetwork
    head : torch.nn.Module
    """

    def __init__(self, network: StagedNetwork, head: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.stage_names = (*network.stage_names, "output")
        self.n_channels = network.n_channels

    def stages(self) -> list[Stage]:
        """Return the layers, from input to output."""
        return [*self.network.stages(), self.head]


_VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
_VGG |= {19: (2, 2, 4, 4, 4)}
_VGG_CHANNELS = (64, 128, 256, 512, 512)


class VGG(StagedNetwork):
    """Blocks of 3 x 3 convolutions, each of which ends by halving the image [1]_.

    Layers are "relu1_1" and on, of the first block, and "pool1", its end; to "pool5".

    Parameters
    ----------
    depth : {11, 13, 16, 19}
        Layers with weights, the three of the classifier included.
    normalized : bool, default=False
        Batch normalisation behind each convolution.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.

    References
    ----------
    .. [1] K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale
       image recognition", ICLR 2015, arXiv:1409.1556, Table 1, A, B, D and E. Without
       the fully connected layers.
    """

    n_channels = 3
    unused = ("classifier.",)

    def __init__(
        self,
        depth: int,
        normalized: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        ends: dict[str, int] = {}  # of the stages, as slices of the layers
        n_in = 3
        for block, (count, n_out) in enumerate(
            zip(_VGG[depth], _VGG_CHANNELS, strict=True), 1
        ):
            for k in range(count):
                layers.append(convolution(n_in, n_out, 3, generator))
                layers += [nn.BatchNorm2d(n_out)] if normalized else []
                layers.append(nn.ReLU())
                ends[f"relu{block}_{k + 1}"], n_in = len(layers), n_out
            layers.append(nn.MaxPool2d(2))
            ends[f"pool{block}"] = len(layers)
        self.features = nn.Sequential(*layers)
        self.stage_names = tuple(ends)
        self._ends = tuple(ends.values())

    def stages(self) -> list[Stage]:
        """Return the layers, from input to output."""
        return [self.features[a:b] for a, b in pairwise((0, *self._ends))]


_RESNET: dict[int, tuple[bool, tuple[int, int, int, int]]] = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}


class _Residual(nn.Module):
    """A block of 2 convolutions, or 3 with a narrow middle, around a short cut."""

    def __init__(
        self,
        n_in: int,
        width: int,
        stride: int,
        narrow: bool,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        n_out = 4 * width if narrow else width
        kernels = (1, 3, 1) if narrow else (3, 3)
        strides = (1, stride, 1) if narrow else (stride, 1)
        sizes = (n_in, width, width, n_out) if narrow else (n_in, width, n_out)
        self._n_convolutions = len(kernels)
        for k, (a, b) in enumerate(pairwise(sizes)):
            layer = convolution(
                a, b, kernels[k], generator, stride=strides[k], bias=False
            )
            self.add_module(f"conv{k + 1}", layer)
            self.add_module(f"bn{k + 1}", nn.BatchNorm2d(b))
        self.downsample = None
        if stride > 1 or n_in != n_out:
            layer = convolution(n_in, n_out, 1, generator, stride=stride, bias=False)
            self.downsample = nn.Sequential(layer, nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in, height, width) to (n, n_out, height / stride, ...)."""
        short = x if self.downsample is None else self.downsample(x)
        for k in range(1, self._n_convolutions + 1):
            x = self.get_submodule(f"bn{k}")(self.get_submodule(f"conv{k}")(x))
            if k < self._n_convolutions:
                x = F.relu(x)
        return F.relu(x + short)


class ResNet(StagedNetwork):
    """Residual blocks in four layers, each but the first halving the image [1]_.

    Layers are "stem", at a quarter of the size, and "layer1" to "layer4".

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
        Layers with weights, the classifier included.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image
       recognition", CVPR 2016, arXiv:1512.03385, Table 1. The stride of a block with a
       narrow middle is at its 3 x 3 convolution, as in torchvision.
    """

    n_channels = 3
    unused = ("fc.",)
    stage_names = ("stem", "layer1", "layer2", "layer3", "layer4")

    def __init__(self, depth: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        narrow, counts = _RESNET[depth]
        self.conv1 = convolution(3, 64, 7, generator, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        n_in = 64
        for layer, count in enumerate(counts):
            width, blocks = 64 * 2**layer, nn.Sequential()
            for k in range(count):
                stride = 2 if layer and not k else 1
                blocks.append(_Residual(n_in, width, stride, narrow, generator))
                n_in = 4 * width if narrow else width
            self.add_module(f"layer{layer + 1}", blocks)

    def stages(self) -> list[Stage]:
        """Return the layers, from input to output."""
        return [self._stem, *map(self.get_submodule, self.stage_names[1:])]

    def _stem(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        return F.max_pool2d(x, 3, stride=2, padding=1)


class HookedNetwork(StagedNetwork):
    """A network of the user's, whose layers are its modules under their own names.

    The last one, "output", is what the network returns.

    Parameters
    ----------
    module : torch.nn.Module
        Maps images (n, channels, height, width) to maps or rows.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        names = [name for name, _ in module.named_modules() if name]
        self.stage_names = (*names, "output")
        first = [m for m in module.modules() if isinstance(m, nn.Conv2d)][:1]
        self.n_channels = first[0].in_channels if first else None

    def activations(self, images: Tensor, names: Collection[str]) -> list[Tensor]:
        """Return what the layers `names` make of images."""
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda module, inputs, output: found.update({name: output})

        with ExitStack() as hooks:
            for name in names:
                if name != "output":
                    layer = self.module.get_submodule(name)
                    hooks.enter_context(layer.register_forward_hook(keep(name)))
            found["output"] = self.module(images)
        return [found[name] for name in names]


def vgg_or_resnet(name: str, generator: torch.Generator | None = None) -> StagedNetwork:
    """Return the network of a name in `BACKBONES`.

    Examples
    --------
    >>> import torch
    >>> network = vgg_or_resnet("resnet18", torch.Generator()).eval()
    >>> network(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 512, 1, 1])
    """
    if name.startswith("resnet"):
        return ResNet(int(name.removeprefix("resnet")), generator)
    depth, _, suffix = name.removeprefix("vgg").partition("_")
    return VGG(int(depth), suffix == "bn", generator)


BACKBONES = (
    *(f"vgg{depth}{suffix}" for depth in _VGG for suffix in ("", "_bn")),
    *(f"resnet{depth}" for depth in _RESNET),
)
"""Names that `vgg_or_resnet` takes."""
