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


def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of ``|output - target|``, in units of the target."""
    return (output - target).abs().mean()


def huber_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of ``d^2 / 2`` where ``d = |output - target|`` <= 1, or d - 1/2.

    In units of the target.

    References
    ----------
    .. [1] P. Huber, "Robust estimation of a location parameter", Annals of Mathematical
       Statistics 35, 1964, with k = 1.
    """
    return F.huber_loss(output.to(target.dtype), target)


def structural_similarity(
    output: Tensor, target: Tensor, *, data_range: float = 1.0
) -> Tensor:
    """Return the mean structural similarity of each image to its target.

    Means, variances and the covariance are those of Gaussian windows of 11 pixels and a
    standard deviation of 1.5, which shrink to the largest odd number of pixels that a
    smaller image has. Images are reflected at their edges, so that each pixel has a
    window of its own. Channels are compared by themselves, then averaged.

    Parameters
    ----------
    output, target : Tensor of shape (n, channels, height, width)
    data_range : float, default=1.0
        Difference of the largest possible value and the smallest one.

    Returns
    -------
    similarity : Tensor of shape (n,), float32 or float64
        In [-1, 1]; 1 is the target itself.

    References
    ----------
    .. [1] Z. Wang et al., "Image quality assessment: from error visibility to
       structural similarity", IEEE Transactions on Image Processing 13, 2004, Eq. (13).
       We reflect, as torchmetrics does; the authors keep windows within the image,
       where pixels of the rim hardly count.

    Examples
    --------
    >>> images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    >>> structural_similarity(images, images)
    tensor([1., 1., 1., 1., 1.])
    >>> bool((structural_similarity(1 - images, images) < 0).all())
    True
    """
    # variances are differences of means, too small for the digits of half precision
    with torch.autocast(output.device.type, enabled=False):
        dtype = torch.promote_types(target.dtype, torch.float32)
        x, y = output.to(dtype), target.to(dtype)
        over, down = (_windows(x, axis) for axis in (-1, -2))
        moments = torch.stack([x, y, x * x, y * y, x * y])
        mean_x, mean_y, xx, yy, xy = (down @ moments @ over.t()).unbind()
        floor, spread_floor = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        covariance = xy - mean_x * mean_y
        variances = xx - mean_x.square() + yy - mean_y.square()
        luminance = (2 * mean_x * mean_y + floor) / (
            mean_x.square() + mean_y.square() + floor
        )
        structure = (2 * covariance + spread_floor) / (variances + spread_floor)
        return (luminance * structure).mean(dim=(1, 2, 3))


def _windows(images: Tensor, axis: int) -> Tensor:
    """Return the matrix that takes Gaussian means along an axis, (side, side).

    At the sides of images that networks learn, a product is faster than a convolution.
    """
    side = images.shape[axis]
    half = (min(11, side) - 1) // 2
    steps = torch.arange(-half, half + 1, device=images.device)
    places = torch.arange(side, device=images.device)[:, None] + steps
    places = side - 1 - (side - 1 - places.abs()).abs()
    weights = (-0.5 * (steps.to(images.dtype) / 1.5).square()).exp()
    weights = (weights / weights.sum()).expand(side, -1)
    return images.new_zeros(side, side).scatter_add_(1, places, weights)


def structural_dissimilarity(
    output: Tensor, target: Tensor, image_shape: tuple[int, int, int]
) -> Tensor:
    """Return 1 - the mean structural similarity of rows in [0, 1], in [0, 2].

    A row is an image of `image_shape`, (channels, height, width).
    """
    images = (rows.reshape(-1, *image_shape) for rows in (output, target))
    return 1.0 - structural_similarity(*images).mean()


RECONSTRUCTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mean_squared_error,
    "bce": binary_cross_entropy,
    "l1": mean_absolute_error,
    "huber": huber_loss,
}
"""Reconstruction losses of rows by the name that an estimator takes."""

RECONSTRUCTION_NAMES = (*RECONSTRUCTION, "ssim")
"""Their names, and that of `structural_dissimilarity`, which needs images."""


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
