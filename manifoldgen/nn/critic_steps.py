"""A step of a critic, and the slopes of the relativistic game, written out."""

from collections.abc import Callable

import torch
from torch import Tensor

from .explicit import CriticPass, critic_backward, critic_forward
from .losses import relativistic_loss
from .modules import Critic

Slopes = tuple[Tensor, Tensor, Tensor | None]
"""A loss that is reported, and slopes at the values and at the input gradients."""


def update_critic(
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    fake: Tensor,
    labels: list[Tensor],
    critic_loss: Callable[[CriticPass, int, int], Slopes],
) -> Tensor:
    """Take a step of the critic on real rows and as many generated ones.

    `critic_loss` takes a pass, the number of real rows, which come first, and the
    number of columns, which labels follow; the loss that it reports is returned.
    """
    both = torch.cat([torch.cat([x, *labels], 1), torch.cat([fake, *labels], 1)])
    weights = critic.weights()
    done = critic_forward(weights, critic.slope, both)
    loss, at_value, at_gradient = critic_loss(done, len(x), x.shape[1])
    slopes = critic_backward(weights, done, at_value, at_gradient)
    optimizer.zero_grad(set_to_none=False)
    # from the weights as they are used to the parameters
    parts = [part for layer in weights for part in layer]
    torch.autograd.backward(parts, slopes, inputs=list(critic.parameters()))
    optimizer.step()
    return loss


def relativistic_critic_slopes(
    done: CriticPass, n: int, width: int, gradient_penalty: float
) -> Slopes:
    """Return the loss of D on pairs, and the slopes of that and R1 and R2 together.

    The first `n` rows of the pass are real, as many generated ones follow; labels,
    which are not moved, follow their first `width` columns.
    """
    real, fake = done.value[:n], done.value[n:]
    slope = torch.sigmoid(fake - real).div_(n)
    # over as many real as generated rows, so this is that of R1 + R2
    penalty = done.gradient * (gradient_penalty / n)
    penalty[:, width:] = 0.0
    return relativistic_loss(real, fake), torch.cat([-slope, slope]), penalty


def relativistic_slope(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of G on pairs of values of D, and its slopes at `fake`."""
    slope = torch.sigmoid(real - fake).div_(-len(fake))
    return relativistic_loss(fake, real), slope
