"""Multilayer perceptrons and convolutional encoders for rows of any width."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "silu": F.silu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
}

ACTIVATIONS = tuple(_ACTIVATIONS)
"""Names of the activations that the networks take."""

_FIRST_ITERATIONS = 15


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own (see `bind_generator`)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero entries with probability `p` in training and rescale the others."""
        if not self.training or self.p == 0.0:
            return x
        keep = torch.empty_like(x).bernoulli_(1.0 - self.p, generator=self.generator)
        return x * keep.div_(1.0 - self.p)


def bind_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Make every `Dropout` inside `module` draw from `generator`."""
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator


def _initialize(
    layer: nn.Module, generator: torch.Generator | None, gain: float = 2.0
) -> None:
    """Draw uniform weights of variance ``gain / n_in``; biases are 0.

    The default is that of He et al. 2015, arXiv:1502.01852.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    fan_in = weight[0].numel()
    bound = math.sqrt(3.0 * gain / fan_in)
    with torch.no_grad():
        weight.uniform_(-bound, bound, generator=generator)
        if isinstance(layer.bias, Tensor):
            layer.bias.zero_()


def linear(
    n_in: int, n_out: int, generator: torch.Generator | None = None, gain: float = 2.0
) -> nn.Linear:
    """Return a linear layer whose weights come from `generator`."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
    _initialize(layer, generator, gain)
    return layer


class FourierFeatures(nn.Module):
    """Rows, and sines and cosines of random directions of them.

    A perceptron on two or three coordinates learns slow functions first, and of a map
    with many small groups for long no others; waves of many lengths mend that [1]_.

    Parameters
    ----------
    n_in : int
        Width of a row.
    n_waves : int
        How many directions; the output has ``n_in + 2 n_waves`` columns.
    frequency : float
        Standard deviation of the angular frequencies, in radians per unit of a row.
    generator : torch.Generator or None, default=None
        Where the directions are drawn from.

    References
    ----------
    .. [1] M. Tancik et al., "Fourier features let networks learn high frequency
       functions in low dimensional domains", NeurIPS 2020, arXiv:2006.10739, Eq. (5),
       without its factor of 2 pi. We keep the rows themselves too.
    """

    def __init__(
        self,
        n_in: int,
        n_waves: int,
        frequency: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        waves = torch.empty(n_in, n_waves).normal_(generator=generator)
        self.register_buffer("waves", frequency * waves)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows of shape (n, n_in) to rows of shape (n, n_in + 2 n_waves)."""
        angles = x @ cast(Tensor, self.waves)
        return torch.cat([x, torch.sin(angles), torch.cos(angles)], dim=1)


class MLP(nn.Module):
    """Linear layers with an activation, and dropout, between them.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output, at least two.
    activation : str, default="relu"
        One of `ACTIVATIONS`.
    dropout : float, default=0.0
        Probability with which a hidden unit is zeroed in training.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from; None is torch's global generator.
    gain : float, default=2.0
        Variance of a weight at first, times the inputs of its layer.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        gain: float = 2.0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            linear(a, b, generator, gain) for a, b in pairwise(sizes)
        )
        self.activation = activation
        self.dropout = Dropout(dropout)

    @property
    def linears(self) -> list[nn.Linear]:
        """The linear layers, from input to output."""
        return cast(list[nn.Linear], list(self.layers))

    @property
    def activate(self) -> Callable[[Tensor], Tensor]:
        """The function between two layers."""
        return _ACTIVATIONS[self.activation]

    def forward(self, x: Tensor) -> Tensor:
        """Map rows of shape (n, sizes[0]) to rows of shape (n, sizes[-1])."""
        activate = self.activate
        drop = self.dropout if self.training and self.dropout.p else None
        *hidden, last = self.linears
        for layer in hidden:
            x = activate(F.linear(x, layer.weight, layer.bias))
            if drop is not None:
                x = drop(x)
        return F.linear(x, last.weight, last.bias)


class Critic(nn.Module):
    """A perceptron with one output and leaky ReLUs.

    `critic_forward` and `critic_backward` are its passes, written out.

    Parameters
    ----------
    n_in : int
        Width of the input.
    hidden_sizes : sequence of int
        Widths of the hidden layers.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.
    """

    slope = 0.2

    def __init__(
        self,
        n_in: int,
        hidden_sizes: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = [n_in, *hidden_sizes, 1]
        self.layers = nn.ModuleList(linear(a, b, generator) for a, b in pairwise(sizes))

    def weights(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of each layer as they are used, from input to output.

        Differentiable in the parameters.
        """
        layers = cast(list[nn.Linear], list(self.layers))
        return [(layer.weight, layer.bias) for layer in layers]

    def forward(self, x: Tensor) -> Tensor:
        """Map rows of shape (n, n_in) to values of shape (n,)."""
        *hidden, last = self.weights()
        for weight, bias in hidden:
            x = F.leaky_relu(F.linear(x, weight, bias), self.slope)
        return F.linear(x, *last).squeeze(1)


class SpectralCritic(Critic):
    """A critic whose weights are divided by their largest singular values.

    No layer then stretches a distance, so neither does the critic: its slope is 1 at
    most anywhere, without a penalty on gradients [1]_. The singular value of W is
    estimated as ``|W^T u|``; `iterate` brings the vectors u, which are buffers, nearer
    to the left singular ones. It is called once a step, since W moves little in one.

    Parameters
    ----------
    critic : Critic
        Whose layers are taken over, not copied.
    generator : torch.Generator or None, default=None
        Where the first u are drawn from, on the CPU.

    References
    ----------
    .. [1] T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral normalization for
       generative adversarial networks", ICLR 2018, arXiv:1802.05957, Algorithm 1. The
       gradient goes through the estimate, as in Eq. (12).
    """

    def __init__(
        self, critic: Critic, generator: torch.Generator | None = None
    ) -> None:
        nn.Module.__init__(self)
        self.layers = critic.layers
        for place, (weight, _) in enumerate(super().weights()):
            left = torch.empty(len(weight)).normal_(generator=generator)
            self.register_buffer(f"left_{place}", left.to(weight))
        for _ in range(_FIRST_ITERATIONS):
            self.iterate()

    @property
    def _lefts(self) -> list[Tensor]:
        return [self.get_buffer(f"left_{place}") for place in range(len(self.layers))]

    @torch.no_grad()
    def iterate(self) -> None:
        """Take one step of the power iteration of each layer, in place."""
        for left, (weight, _) in zip(self._lefts, super().weights(), strict=True):
            left.copy_(F.normalize(weight @ (left @ weight), dim=0))

    def weights(self) -> list[tuple[Tensor, Tensor]]:
        """Return each weight over its estimated singular value, and each bias."""
        return [
            (weight / (left @ weight).norm().clamp_min(1e-12), bias)
            for left, (weight, bias) in zip(self._lefts, super().weights(), strict=True)
        ]

    @torch.no_grad()
    def settle(self) -> None:
        """Divide the layers, which others may share, by their exact singular values."""
        for weight, _ in super().weights():
            size = torch.linalg.matrix_norm(weight.double().cpu(), 2)
            weight.div_(float(size.clamp_min(1e-12)))


def _channels_last(images: Tensor) -> Tensor:
    """Return images laid out as convolutions are fastest with, by a half on CPUs."""
    return images.contiguous(memory_format=torch.channels_last)


# with 2, as in perceptrons, the error on 28 x 28 digits is higher by a sixth
_CONV_GAIN = 1.0


def _halved(size: int) -> int:
    return (size + 1) // 2


class ConvEncoder(nn.Module):
    """Strided convolutions, each of which halves the image, and a perceptron.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width); any height and width from 1 on.
    n_components : int
        Width of the output.
    channels : sequence of int, default=(32, 64)
        Channels after each convolution.
    hidden_sizes : sequence of int, default=()
        Widths of the hidden layers between the convolutions and the output.
    activation : str, default="silu"
        One of `ACTIVATIONS`.
    dropout : float, default=0.0
        Probability with which a unit behind the convolutions is zeroed in training.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_components: int,
        channels: Sequence[int] = (32, 64),
        hidden_sizes: Sequence[int] = (),
        activation: str = "silu",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.activation = activation
        depth, height, width = image_shape
        self.convolutions = nn.ModuleList()
        for n_out in channels:
            layer = nn.utils.skip_init(
                nn.Conv2d, depth, n_out, kernel_size=3, stride=2, padding=1
            )
            _initialize(layer, generator, _CONV_GAIN)
            self.convolutions.append(layer)
            depth, height, width = n_out, _halved(height), _halved(width)
        self.dropout = Dropout(dropout)
        sizes = (depth * height * width, *hidden_sizes, n_components)
        self.head = MLP(sizes, activation, 0.0, generator, _CONV_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows of shape (n, channels * height * width) to (n, n_components)."""
        activate = _ACTIVATIONS[self.activation]
        x = _channels_last(x.reshape(-1, *self.image_shape))
        for layer in self.convolutions:
            x = activate(layer(x))
        return self.head(self.dropout(x.flatten(1)))


def convolve_upsampled(
    x: Tensor, weight: Tensor, bias: Tensor, size: tuple[int, int]
) -> Tensor:
    """Double images by repeating pixels, then convolve them with a 3 x 3 kernel.

    Without the large images in between: on pixels that are repeated, the kernel is one
    of 4 x 4 on those that are not, in a transposed convolution. Its entries are sums
    of those of `weight`, so nothing is lost, and of nine products four are left.

    Parameters
    ----------
    x : Tensor of shape (n, n_in, height, width)
    weight : Tensor of shape (n_out, n_in, 3, 3)
    bias : Tensor of shape (n_out,)
    size : tuple of int
        Height and width of the output, at most twice those of `x`; odd ones leave out
        the last row or column.

    Returns
    -------
    y : Tensor of shape (n, n_out, *size)

    Examples
    --------
    >>> import torch
    >>> x, weight = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3)
    >>> convolve_upsampled(x, weight, torch.zeros(1), (4, 4))[0, 0]
    tensor([[4., 6., 6., 4.],
            [6., 9., 9., 6.],
            [6., 9., 9., 6.],
            [4., 6., 6., 4.]])
    """
    height, width = x.shape[2:]
    if size != (2 * height, 2 * width):
        repeated = F.interpolate(x, size=size, mode="nearest")
        return F.conv2d(repeated, weight, bias, padding=1)
    flipped = weight.transpose(0, 1).flip(2, 3)
    # each pixel of x is a square of 2 x 2, so the kernel is smeared by such a square
    smeared = F.pad(flipped, (0, 1)) + F.pad(flipped, (1, 0))
    kernel = F.pad(smeared, (0, 0, 0, 1)) + F.pad(smeared, (0, 0, 1, 0))
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


class ConvDecoder(nn.Module):
    """The way back: a perceptron, then nearest-neighbour upsampling and convolution.

    Upsampling followed by a convolution leaves no checkerboard, unlike a transposed
    convolution [Odena et al. 2016, doi:10.23915/distill.00003], and reaches any height
    and width exactly.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width) of the output.
    n_components : int
        Width of the input.
    channels : sequence of int, default=(32, 64)
        As in `ConvEncoder`; used in reverse.
    hidden_sizes : sequence of int, default=()
        As in `ConvEncoder`; used in reverse.
    activation : str, default="silu"
        One of `ACTIVATIONS`.
    dropout : float, default=0.0
        Probability with which a unit before the convolutions is zeroed in training.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_components: int,
        channels: Sequence[int] = (32, 64),
        hidden_sizes: Sequence[int] = (),
        activation: str = "silu",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.sizes = [(image_shape[1], image_shape[2])]
        for _ in channels:
            height, width = self.sizes[-1]
            self.sizes.append((_halved(height), _halved(width)))
        depth = channels[-1] if channels else image_shape[0]
        self.start = (depth, *self.sizes[-1])
        sizes = (n_components, *reversed(hidden_sizes), math.prod(self.start))
        self.head = MLP(sizes, activation, 0.0, generator, _CONV_GAIN)
        self.dropout = Dropout(dropout)
        self.convolutions = nn.ModuleList()
        for n_out in [*reversed(channels[:-1]), image_shape[0]] if channels else []:
            layer = nn.utils.skip_init(nn.Conv2d, depth, n_out, 3, padding=1)
            _initialize(layer, generator, _CONV_GAIN)
            self.convolutions.append(layer)
            depth = n_out

    def forward(self, z: Tensor) -> Tensor:
        """Map rows of shape (n, n_components) to (n, channels * height * width)."""
        activate = _ACTIVATIONS[self.activation]
        x = _channels_last(self.dropout(self.head(z)).reshape(-1, *self.start))
        convolutions = cast(list[nn.Conv2d], list(self.convolutions))
        for layer, size in zip(convolutions, self.sizes[-2::-1], strict=True):
            bias = cast(Tensor, layer.bias)
            x = convolve_upsampled(activate(x), layer.weight, bias, size)
        return x.flatten(1)
