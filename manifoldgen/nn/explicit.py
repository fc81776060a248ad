"""Forward and backward passes of perceptrons, written out.

A gradient step of a small network spends most of its time in the bookkeeping of
autograd, and one of a large network a good part in fresh memory for its gradients.
These passes have neither: they are the chain rule for linear layers, and write into the
gradients where the optimizer reads them.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .losses import binary_cross_entropy, mean_squared_error
from .modules import MLP

_aten = torch.ops.aten

_SLOPES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda slope, before, after: _aten.threshold_backward(slope, after, 0),
    "leaky_relu": lambda slope, before, after: _aten.leaky_relu_backward(
        slope, before, 0.2, False
    ),
    "silu": lambda slope, before, after: _aten.silu_backward(slope, before),
    "gelu": lambda slope, before, after: _aten.gelu_backward(slope, before),
    "tanh": lambda slope, before, after: _aten.tanh_backward(slope, after),
}


class ExplicitPasses:
    """The passes of an `MLP` without dropout whose parameters have gradients.

    Parameters
    ----------
    mlp : MLP
        After `manifoldgen.training.make_optimizer`, which gives each parameter the
        place of its gradient. Both are shared, not copied.
    """

    def __init__(self, mlp: MLP) -> None:
        self._activate = mlp.activate
        self._slope = _SLOPES[mlp.activation]
        self._layers = []
        for layer in mlp.linears:
            assert layer.weight.grad is not None
            assert layer.bias.grad is not None
            self._layers.append(
                (
                    layer.weight.detach(),
                    layer.bias.detach(),
                    layer.weight.grad,
                    layer.bias.grad,
                )
            )

    def forward(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return the output, and for each layer its input and what left it."""
        trace = []
        *hidden, (weight, bias, _, _) = self._layers
        for hidden_weight, hidden_bias, _, _ in hidden:
            before = F.linear(x, hidden_weight, hidden_bias)
            trace.append((x, before))
            x = self._activate(before)
        trace.append((x, x))
        return F.linear(x, weight, bias), trace

    def backward(
        self, slope: Tensor, trace: list[tuple[Tensor, Tensor]], to_input: bool
    ) -> Tensor:
        """Overwrite the gradients, and return the slope at the input if `to_input`.

        `slope` is the derivative of the loss with respect to the output.
        """
        last = len(self._layers) - 1
        for place in range(last, -1, -1):
            weight, _, weight_slope, bias_slope = self._layers[place]
            x, before = trace[place]
            if place < last:
                slope = self._slope(slope, before, trace[place + 1][0])
            torch.mm(slope.t(), x, out=weight_slope)
            torch.sum(slope, 0, out=bias_slope)
            if place or to_input:
                slope = torch.mm(slope, weight)
        return slope


def _squares(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    difference = output - target
    flat = difference.flatten()
    loss = torch.dot(flat, flat) / flat.numel()
    return loss, difference.mul_(2.0 / flat.numel())


def _cross_entropy(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    slope = (torch.sigmoid(output) - target).div_(output.numel())
    return binary_cross_entropy(output, target), slope


LOSS_AND_SLOPE: dict[
    Callable[[Tensor, Tensor], Tensor],
    Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
] = {mean_squared_error: _squares, binary_cross_entropy: _cross_entropy}
"""Losses of which the value, and the slope at the output, are written out."""
