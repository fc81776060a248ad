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


def energy_distance(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``2 E|x - y| - E|x - x'| - E|y - y'|`` and its standard error.

    Rows of `x` and of `y` are two samples. The estimate is unbiased, so it may fall
    below 0; the error is that over the choice of `x`, by the first-order term of the
    statistic: ``2 sd(E_y|x - y| - E_x'|x - x'|) / sqrt(n)``.

    References
    ----------
    .. [1] G. Szekely, M. Rizzo, "Energy statistics: a class of statistics based on
       distances", Journal of Statistical Planning and Inference 143, 2013, Eq. (6.1).
       We leave out the zero distances of a row to itself (U-statistic).
    """
    n, m = len(x), len(y)
    to_y = torch.cdist(x, y).mean(1)
    to_x = torch.cdist(x, x).sum(1) / max(n - 1, 1)
    spread = torch.cdist(y, y).sum() / max(m * (m - 1), 1)
    error = 2.0 * (to_y - to_x).std(correction=0) / n**0.5
    return 2.0 * to_y.mean() - to_x.mean() - spread, error
