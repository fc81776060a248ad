"""Losses of reconstructions and of relativistic pairs; means over all entries."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of ``(output - target)^2``, in squared units of the target."""
    return F.mse_loss(output, target)


def binary_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of logits and a target in [0, 1]."""
    return F.binary_cross_entropy_with_logits(output, target)


RECONSTRUCTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mean_squared_error,
    "bce": binary_cross_entropy,
}
"""Reconstruction losses by the name that an estimator takes."""


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Return the mean of ``log(1 + exp(-(better - worse)))`` over pairs, in nats.

    The critic calls it with real rows as the better ones, the generator with its own.

    References
    ----------
    .. [1] A. Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019,
       arXiv:1807.00734, Eq. (2).
    """
    return F.softplus(worse - better).mean()


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ``2 E|x - y| - E|x - x'| - E|y - y'|`` between rows, unbiased.

    References
    ----------
    .. [1] G. Szekely, M. Rizzo, "Energy statistics: a class of statistics based on
       distances", Journal of Statistical Planning and Inference 143, 2013, Eq. (6.1).
       We leave out the zero distances of a row to itself (U-statistic).
    """
    between = torch.cdist(x, y).mean()
    return 2.0 * between - _mean_spread(x) - _mean_spread(y)


def _mean_spread(x: Tensor) -> Tensor:
    n = len(x)
    return torch.cdist(x, x).sum() / max(n * (n - 1), 1)
