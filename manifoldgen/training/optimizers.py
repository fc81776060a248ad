"""Optimizers and learning-rate schedules by their usual names."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
"""Names of the optimizers."""


def flatten(parameters: Iterable[Tensor]) -> Tensor:
    """Return one vector that `parameters`, and their gradients, are views of.

    An optimizer then has one tensor to update instead of a dozen, which is a seventh
    of the whole step for small networks. `backward` adds to the gradients in place.
    """
    trained = [p for p in dict.fromkeys(parameters) if p.requires_grad]
    flat = torch.cat([p.detach().flatten() for p in trained])
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in trained:
        part = slice(start, start + parameter.numel())
        parameter.data = flat[part].view_as(parameter)
        parameter.grad = flat.grad[part].view_as(parameter)
        start = part.stop
    return flat


def make_optimizer(
    name: str,
    parameters: Iterable[Tensor],
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """Return an optimizer of one vector, see `flatten`; fused where torch has it so.

    Clear its gradients with ``zero_grad(set_to_none=False)``: the parameters share
    them.

    Parameters
    ----------
    name : {"adam", "adamw", "sgd", "rmsprop"}
        "adamw" decouples the weight decay, which others add to the gradient; "sgd" has
        a Nesterov momentum of 0.9, "rmsprop" none and a mean of squares that decays by
        0.99 a step.
    parameters : iterable of Tensor
        Of one dtype on one device.
    learning_rate, weight_decay : float
    betas : tuple of float, default=(0.9, 0.999)
        Decay of the two moments of Adam.
    """
    vector = [flatten(parameters)]
    if name == "sgd":
        return torch.optim.SGD(
            vector,
            lr=learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=weight_decay,
            fused=True,
        )
    if name == "rmsprop":
        return torch.optim.RMSprop(
            vector, lr=learning_rate, alpha=0.99, weight_decay=weight_decay
        )
    optimizer = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return optimizer(
        vector, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True
    )


def _one_cycle(fraction: float) -> float:
    if fraction < 0.3:
        return 0.04 + 0.96 * 0.5 * (1.0 - math.cos(math.pi * fraction / 0.3))
    return 0.5 * (1.0 + math.cos(math.pi * (fraction - 0.3) / 0.7))


_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda fraction: 1.0,
    "cosine": lambda fraction: 0.5 * (1.0 + math.cos(math.pi * fraction)),
    "linear": lambda fraction: 1.0 - fraction,
    "one_cycle": _one_cycle,
    "plateau": lambda fraction: 1.0,  # which the engine lowers, as it sees the losses
}

SCHEDULES = tuple(_SCHEDULES)
"""Names of the schedules."""


def schedule_factor(name: str, epoch: int, max_epochs: int) -> float:
    """Return what the learning rate is multiplied by in epoch `epoch` (from 0).

    "cosine" [Loshchilov and Hutter 2017, arXiv:1608.03983, Eq. (5), one period] and
    "linear" fall to 0 over `max_epochs`; "one_cycle" [Smith 2018, arXiv:1803.09820]
    rises over the first 30 % and falls as a cosine; all are steps of one epoch.
    "plateau" is 1: what lowers it is up to the losses, see `run`.

    Examples
    --------
    >>> [schedule_factor("linear", epoch, 4) for epoch in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    return _SCHEDULES[name](epoch / max_epochs)
