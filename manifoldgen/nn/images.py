"""The two networks of a generative adversarial model of images."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .modules import ConvDecoder, ConvEncoder, linear

_SLOPE = 0.2  # of leaky ReLUs below 0
_FIRST_ITERATIONS = 15


class ImageGenerator(nn.Module):
    """Noise to images: a perceptron, upsampling and convolutions, a tanh.

    The layers are those of `ConvDecoder` with leaky ReLUs.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width) of the output.
    n_in : int
        Width of the noise, with that of one-hot labels behind it where there are any.
    channels : sequence of int, default=(16, 32)
        As in `ConvEncoder`; used in reverse.
    hidden_sizes : sequence of int, default=(128,)
        As in `ConvEncoder`; used in reverse.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_in: int,
        channels: Sequence[int] = (16, 32),
        hidden_sizes: Sequence[int] = (128,),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = ConvDecoder(
            image_shape, n_in, channels, hidden_sizes, "leaky_relu", 0.0, generator
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map rows of shape (n, n_in) to (n, channels * height * width) in (-1, 1)."""
        # in the digits of the noise, of which bfloat16 has too few near 1
        return torch.tanh(self.layers(z).to(z.dtype))


class ImageCritic(nn.Module):
    """Images to one value each: strided convolutions and a perceptron.

    The layers are those of `ConvEncoder` with leaky ReLUs. Labels, one-hot, enter by
    projection: with features h of the last hidden layer the value of an image is
    ``w . h + b``, and ``v_y . h`` more where its label is y [1]_.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width) of an image.
    channels : sequence of int, default=(16, 32)
        As in `ConvEncoder`.
    hidden_sizes : sequence of int, default=(128,)
        As in `ConvEncoder`.
    n_classes : int, default=0
        Width of the one-hot labels; 0 where there are none.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.

    References
    ----------
    .. [1] T. Miyato, M. Koyama, "cGANs with projection discriminator", ICLR 2018,
       arXiv:1802.05637, Eq. (4).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int] = (16, 32),
        hidden_sizes: Sequence[int] = (128,),
        n_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        layers = ConvEncoder(
            image_shape, 1, channels, hidden_sizes, "leaky_relu", 0.0, generator
        )
        self.image_shape = layers.image_shape
        self.convolutions, self.layers = layers.convolutions, layers.head.layers
        self.labels = nn.ModuleList()
        if n_classes:
            width = layers.head.linears[-1].in_features
            projection = linear(width, n_classes, generator, gain=1.0)
            projection.register_parameter("bias", None)
            self.labels.append(projection)

    def weights(self) -> list[Tensor]:
        """Return the weight of each layer as it is used, from input to output.

        That of the labels comes last. Differentiable in the parameters.
        """
        every = [*self.convolutions, *self.layers, *self.labels]
        return [layer.weight for layer in cast(list[nn.Linear], every)]

    def forward(self, x: Tensor, labels: Sequence[Tensor] = ()) -> Tensor:
        """Map rows of shape (n, channels * height * width) to values of shape (n,).

        `labels` is empty, or holds one-hot labels of shape (n, n_classes).
        """
        weights = self.weights()
        maps, hidden = self._activations(x, weights)
        features = hidden[-1] if hidden else _to_features(maps[-1])
        value = (features * self._direction(weights, labels)).sum(1)
        return value + cast(Tensor, self.layers[-1].bias)

    def input_gradient(self, x: Tensor, labels: Sequence[Tensor] = ()) -> Tensor:
        """Return the gradient of each value by its row, of shape (n, width).

        Differentiable in the parameters, not in `x`: the critic is linear on either
        side of 0 of each leaky ReLU, so its slopes are constants, and one pass through
        the transposed layers is all, which is faster than differentiating twice.
        """
        weights = self.weights()
        with torch.no_grad():
            maps, hidden = self._activations(x, weights)
        n_maps = len(self.convolutions)
        slope = self._direction(weights, labels).expand(len(x), -1)
        for place in reversed(range(len(hidden))):
            slope = _through(slope, hidden[place]) @ weights[n_maps + place]
        slope = _to_images(slope, maps[-1].shape[1:])
        for place in reversed(range(n_maps)):
            slope = _through(slope, maps[place + 1])
            slope = _convolve_back(slope, weights[place], maps[place].shape[2:])
        return slope.flatten(1)

    def _activations(
        self, x: Tensor, weights: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return images and feature maps, and the hidden layers behind them."""
        x = x.reshape(-1, *self.image_shape)
        maps = [x.contiguous(memory_format=torch.channels_last)]
        n_maps = len(self.convolutions)
        for layer, weight in zip(self.convolutions, weights[:n_maps], strict=True):
            bias = cast(Tensor, layer.bias)
            x = F.conv2d(maps[-1], weight, bias, stride=2, padding=1)
            maps.append(F.leaky_relu(x, _SLOPE))
        h, hidden = _to_features(maps[-1]), []
        for layer, weight in zip(self.layers[:-1], weights[n_maps:], strict=False):
            h = F.leaky_relu(F.linear(h, weight, cast(Tensor, layer.bias)), _SLOPE)
            hidden.append(h)
        return maps, hidden

    def _direction(self, weights: list[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Return what features are multiplied by, one row for all without labels."""
        if not len(self.labels):
            return weights[-1]
        *_, last, projection = weights
        return last + labels[0] @ projection


def _to_features(images: Tensor) -> Tensor:
    """Return rows of feature maps, in the order in which they lie in memory."""
    return images.permute(0, 2, 3, 1).flatten(1)


def _to_images(features: Tensor, shape: Sequence[int]) -> Tensor:
    """Return rows as feature maps, laid out as convolutions are fastest with."""
    depth, height, width = shape
    return features.reshape(-1, height, width, depth).permute(0, 3, 1, 2)


def _through(slope: Tensor, after: Tensor) -> Tensor:
    """Return the slope before a leaky ReLU, given that and the values after it."""
    return torch.where(after > 0.0, slope, _SLOPE * slope)


def _convolve_back(slope: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
    """Return the slope at the input, of that size, of a strided convolution."""
    missing = [1 - side % 2 for side in size]
    return F.conv_transpose2d(
        slope, weight, stride=2, padding=1, output_padding=missing
    )


class SpectralImageCritic(ImageCritic):
    """A critic whose weights are divided by their largest singular values.

    As in `SpectralCritic`, a convolution being the matrix of shape (channels out,
    channels in * 9) that acts on a window. That is the usual approximation [1]_: a
    pixel is in up to 4 windows, so a layer may stretch an image, but by no more than
    their root, 2.

    Parameters
    ----------
    critic : ImageCritic
        Whose layers are taken over, not copied.
    generator : torch.Generator or None, default=None
        Where the first vectors of the power iteration are drawn from, on the CPU.

    References
    ----------
    .. [1] T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral normalization for
       generative adversarial networks", ICLR 2018, arXiv:1802.05957, Algorithm 1 and
       section 2.1.
    """

    def __init__(
        self, critic: ImageCritic, generator: torch.Generator | None = None
    ) -> None:
        nn.Module.__init__(self)
        self._plain = [critic]  # in a list, which hides it from the parameters
        self.image_shape = critic.image_shape
        self.convolutions, self.layers = critic.convolutions, critic.layers
        self.labels = critic.labels
        for place, weight in enumerate(super().weights()):
            left = torch.empty(len(weight)).normal_(generator=generator)
            self.register_buffer(f"left_{place}", left.to(weight))
        for _ in range(_FIRST_ITERATIONS):
            self.iterate()

    @property
    def plain(self) -> ImageCritic:
        """The critic whose layers these are, which uses them as they stand."""
        return self._plain[0]

    def _matrices(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the vector and the matrix, of rows that are outputs, of each layer."""
        for place, weight in enumerate(super().weights()):
            yield self.get_buffer(f"left_{place}"), weight.flatten(1)

    @torch.no_grad()
    def iterate(self) -> None:
        """Take one step of the power iteration of each layer, in place."""
        for left, matrix in self._matrices():
            left.copy_(F.normalize(matrix @ (left @ matrix), dim=0))

    def weights(self) -> list[Tensor]:
        """Return each weight over its estimated singular value."""
        sizes = [(left @ matrix).norm() for left, matrix in self._matrices()]
        plain = super().weights()
        return [w / s.clamp_min(1e-12) for w, s in zip(plain, sizes, strict=True)]

    @torch.no_grad()
    def settle(self) -> None:
        """Divide the layers, which others may share, by their exact singular values."""
        for weight in super().weights():
            size = torch.linalg.matrix_norm(weight.flatten(1).double().cpu(), 2)
            weight.div_(float(size.clamp_min(1e-12)))
