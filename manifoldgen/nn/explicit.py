"""Forward and backward passes of perceptrons, written out.

A gradient step of a small network spends most of its time in the bookkeeping of
autograd, and one of a large network a good part in fresh memory for its gradients.
These passes have neither: they are the chain rule for linear layers, and write into the
gradients where the optimizer reads them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .losses import (
    binary_cross_entropy,
    huber_loss,
    mean_absolute_error,
    mean_squared_error,
)
from .modules import MLP

Layers = Sequence[tuple[Tensor, Tensor]]

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


@dataclass
class CriticPass:
    """What `critic_forward` finds on n rows of a network with L layers.

    Attributes
    ----------
    value : Tensor of shape (n,)
    gradient : Tensor of shape (n, n_in)
        Of the values with respect to the rows.
    inputs : list of Tensor
        What enters each of the L layers.
    slope : float
        Of the activation below 0.
    reverse : list of Tensor
        Derivatives of the values with respect to what the first L - 1 layers give.
    """

    value: Tensor
    gradient: Tensor
    inputs: list[Tensor]
    slope: float
    reverse: list[Tensor]


@torch.no_grad()
def critic_forward(weights: Layers, slope: float, x: Tensor) -> CriticPass:
    """Return values and input gradients of a leaky perceptron with one output.

    Parameters
    ----------
    weights : sequence of (Tensor, Tensor)
        Weight and bias of each layer, see `Critic.weights`.
    slope : float
        Of the activation below 0.
    x : Tensor of shape (n, n_in)
    """
    *hidden, (last, offset) = weights
    inputs, reverse = [x], []
    for weight, bias in hidden:
        before = F.linear(inputs[-1], weight, bias)
        inputs.append(F.leaky_relu_(before, slope))
    value = F.linear(inputs[-1], last, offset).squeeze(1)
    gradient = last.expand(len(x), -1)
    for (weight, _), after in zip(reversed(hidden), reversed(inputs), strict=False):
        # the activation keeps the sign, so what it gives says which side it was on
        reverse.append(_aten.leaky_relu_backward(gradient, after, slope, False))
        gradient = reverse[-1] @ weight
    return CriticPass(value, gradient, inputs, slope, reverse[::-1])


@torch.no_grad()
def critic_backward(
    weights: Layers,
    done: CriticPass,
    value_slope: Tensor,
    gradient_slope: Tensor | None = None,
) -> list[Tensor]:
    """Return the slopes of a loss of values and input gradients at each parameter.

    The network is piecewise linear, so the derivative of a value with respect to what
    a layer gives is at hand from `critic_forward`, and one product a layer serves the
    values and their gradients together.

    Parameters
    ----------
    weights, done
        As given to, and returned by, `critic_forward`.
    value_slope : Tensor of shape (n,)
        Derivative of the loss with respect to the values.
    gradient_slope : Tensor of shape (n, n_in), default=None
        That with respect to the input gradients; None is a loss of the values alone.

    Returns
    -------
    slopes : list of Tensor
        Those of weight and bias of each layer, from input to output.
    """
    column = value_slope[:, None]
    found, along = [], gradient_slope
    for place, reverse in enumerate(done.reverse):
        left = column * done.inputs[place]
        if along is not None:
            left += along
            along = _aten.leaky_relu_backward(
                F.linear(along, weights[place][0]),
                done.inputs[place + 1],
                done.slope,
                False,
            )
        found += [reverse.t() @ left, value_slope @ reverse]
    last = value_slope @ done.inputs[-1]
    if along is not None:
        last += along.sum(0)
    return [*found, last[None], value_slope.sum()[None]]


def _squares(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    difference = output - target
    flat = difference.flatten()
    loss = torch.dot(flat, flat) / flat.numel()
    return loss, difference.mul_(2.0 / flat.numel())


def _cross_entropy(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    slope = (torch.sigmoid(output) - target).div_(output.numel())
    return binary_cross_entropy(output, target), slope


def _distances(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    difference = output - target
    return difference.abs().mean(), difference.sign_().div_(difference.numel())


def _huber(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    slope = (output - target).clamp_(-1.0, 1.0).div_(output.numel())
    return huber_loss(output, target), slope


LOSS_AND_SLOPE: dict[
    Callable[[Tensor, Tensor], Tensor],
    Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
] = {
    mean_squared_error: _squares,
    binary_cross_entropy: _cross_entropy,
    mean_absolute_error: _distances,
    huber_loss: _huber,
}
"""Losses of which the value, and the slope at the output, are written out."""
