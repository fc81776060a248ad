"""Losses of reconstructions, of critics and of neighbours on a map."""

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


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return ``E max(0, 1 - real) + E max(0, 1 + fake)`` of a critic's values.

    It asks for values of 1 at least at real rows and of -1 at most at generated ones,
    in units of the critic; the generator raises the mean of ``fake``.

    References
    ----------
    .. [1] J. Lim, J. Ye, "Geometric GAN", 2017, arXiv:1705.02894, Eq. (16).
    """
    return F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean()


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


def mean_distance(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean Euclidean distance of the rows of two tensors, smooth at 0.

    ``mean sqrt(|output - target|^2 + 1e-4) - 1e-2``, in units of the target. Rows of
    which the target is NaN are left out; where all are, the loss is 0.
    """
    squared = (output - target.nan_to_num()).square().sum(1)
    return _mean_of_known((squared + 1e-4).sqrt() - 1e-2, target)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean of ``-sum_k target_k log softmax(logits)_k``, in nats.

    Rows of which the target is NaN are left out; where all are, the loss is 0.
    """
    nats = -(target.nan_to_num() * torch.log_softmax(logits, dim=1)).sum(1)
    return _mean_of_known(nats, target)


def _mean_of_known(values: Tensor, target: Tensor) -> Tensor:
    known = (~target.isnan().any(1)).to(values.dtype)
    return (values * known).sum() / known.sum().clamp_min(1.0)


def infonce_loss(heads: Tensor, tails: Tensor) -> Tensor:
    """Return ``-log(q(i, i') / sum_j q(i, j))``, averaged over the pairs, in nats.

    Row i of `tails` is a neighbour of row i of `heads`, and q is the Cauchy kernel
    ``1 / (1 + |a - b|^2)``. The sum goes over all other rows of both.

    References
    ----------
    .. [1] S. Damrich et al., "From t-SNE to UMAP with contrastive learning", ICLR
       2023, arXiv:2206.01816, Eq. (10). The other rows of the batch are the noise
       sample.
    """
    kernel = (1.0 + _squared_to_all(heads, tails)).reciprocal()
    total = kernel.sum(1) - kernel.diagonal()  # but the row itself
    total = total.clamp_min(1e-12)  # where all others are far
    return (total.log() + torch.log1p((heads - tails).square().sum(1))).mean()


def negative_sampling_loss(
    heads: Tensor, tails: Tensor, a: float, b: float, n_negatives: float
) -> Tensor:
    """Return ``-log q(i, i') - n_negatives mean_j log(1 - q(i, j))`` over the pairs.

    The kernel is that of UMAP, ``q = 1 / (1 + a |x - y|^(2 b))``; the mean goes over
    all other rows of both. In nats.

    References
    ----------
    .. [1] L. McInnes et al., "UMAP: Uniform manifold approximation and projection",
       2018, arXiv:1802.03426, section 3.2; as negative sampling by Damrich et al.,
       arXiv:2206.01816, Eq. (8). The other rows of the batch are the negatives. UMAP
       adds 1e-3 to the squared distance in the slope of the repulsion; we add it to
       ``a |x - y|^(2 b)`` in the loss.
    """
    attraction = torch.log1p(a * _power((heads - tails).square().sum(1), b))
    # -log(1 - q) = log(1 + 1 / s) with s = a d^2b, whose slope at 0 has no bound
    spread = a * _power(_squared_to_all(heads, tails), b) + 1e-3
    repulsion = torch.log1p(spread.reciprocal())
    others = repulsion.numel() - len(heads)
    to_others = (repulsion.sum() - repulsion.diagonal().sum()) / others
    return attraction.mean() + n_negatives * to_others


def _power(squared: Tensor, b: float) -> Tensor:
    return squared if b == 1.0 else (squared + 1e-12).pow(b)


def _squared_to_all(heads: Tensor, tails: Tensor) -> Tensor:
    """Return the squared distance of each head to all rows of both, (n, 2 n).

    By products, which is cheaper than by differences; the digits that it loses are
    small beside the 1 of the kernels.
    """
    every = torch.cat([heads, tails])
    norms = every.square().sum(1)
    products = torch.addmm(norms, heads, every.t(), alpha=-2.0)
    return (products + norms[: len(heads), None]).clamp_min(0.0)
