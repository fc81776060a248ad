"""Densities of latent-variable models: likelihoods, priors, divergences and bounds.

All are in nats. Normals are diagonal, given by means and logarithms of variances.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LOG_2PI = math.log(2.0 * math.pi)
_LEAST_VARIANCE = 1e-6
_RATE = 10.0  # or the variance would take thousands of steps to fall to a hundredth
_LEAST_LOG, _LARGEST_LOG = -15.0, 10.0


def log_normal(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the log-density of a diagonal normal, summed over the last dimension.

    Parameters
    ----------
    x, mean, log_variance : Tensor of shape (..., n), or what broadcasts to it

    Returns
    -------
    log_density : Tensor of shape (...)
    """
    squares = (x - mean).square() * (-log_variance).exp()
    return -0.5 * (squares + log_variance + _LOG_2PI).sum(-1)


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Return ``x log p + (1 - x) log(1 - p)``, p the sigmoid of logits, summed.

    It is a log-probability where x is 0 or 1; between them the probabilities do not
    integrate to 1.

    Parameters
    ----------
    x, logits : Tensor of shape (..., n), or what broadcasts to it

    Returns
    -------
    log_probability : Tensor of shape (...)
    """
    return (x * logits - F.softplus(logits)).sum(-1)


def kl_of_normals(
    mean: Tensor,
    log_variance: Tensor,
    prior_mean: Tensor | float = 0.0,
    prior_log_variance: Tensor | float = 0.0,
) -> Tensor:
    """Return ``KL(q || p)`` of two diagonal normals for each coordinate.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (n, n_components)
        Of q.
    prior_mean, prior_log_variance : Tensor that broadcasts to it, or float, default=0.0
        Of p.

    Returns
    -------
    divergence : Tensor of shape (n, n_components)

    References
    ----------
    .. [1] D. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014,
       arXiv:1312.6114, appendix B, for a standard normal p.
    """
    ratio = log_variance - prior_log_variance
    apart = (mean - prior_mean).square()
    if isinstance(prior_log_variance, Tensor):
        apart = apart * (-prior_log_variance).exp()
    elif prior_log_variance:
        apart = apart * math.exp(-prior_log_variance)
    return 0.5 * (ratio.exp() + apart - 1.0 - ratio)


def free_of_charge(divergence: Tensor, free_bits: float) -> Tensor:
    """Return the sum over coordinates of ``max(free_bits, mean over rows)``.

    Below `free_bits` nats a coordinate costs the same, so it is not given up early.

    Parameters
    ----------
    divergence : Tensor of shape (n, n_components)
    free_bits : float

    Returns
    -------
    cost : Tensor of shape ()

    References
    ----------
    .. [1] D. Kingma et al., "Improved variational inference with inverse
       autoregressive flow", NeurIPS 2016, arXiv:1606.04934, Eq. (15), with groups of
       one coordinate.
    """
    means = divergence.mean(0)
    return (means.clamp_min(free_bits) if free_bits else means).sum()


def importance_bound(log_weights: Tensor) -> Tensor:
    """Return ``log mean exp`` over the first dimension, in float64.

    With weights ``p(x, z_k) / q(z_k | x)``, z_k drawn from q, its mean is a lower bound
    of log p(x), which grows with the number of draws.

    Parameters
    ----------
    log_weights : Tensor of shape (n_samples, n)

    Returns
    -------
    bound : Tensor of shape (n,), float64

    References
    ----------
    .. [1] Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders",
       ICLR 2016, arXiv:1509.00519, Eq. (8).
    """
    wide = log_weights.cpu().double()  # not on every accelerator
    return torch.logsumexp(wide, dim=0) - math.log(len(log_weights))


def split_code(code: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log-variance, the halves of the columns of what an encoder gives.

    The logarithm is kept between -15 and 10.
    """
    mean, log_variance = code.float().chunk(2, dim=-1)
    return mean, log_variance.clamp(_LEAST_LOG, _LARGEST_LOG)


class BernoulliLikelihood(nn.Module):
    """Independent features of 0 or 1, by the logits that a decoder returns."""

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """Return ``log p(x | output)`` over the last dimension."""
        return log_bernoulli(x, output)


class GaussianLikelihood(nn.Module):
    """Independent normal features about what a decoder returns, of one variance.

    The variance is learned with the networks, so that reconstruction and divergence
    are weighed by the likelihood and by no hand.

    References
    ----------
    .. [1] O. Rybkin, K. Daniilidis, S. Levine, "Simple and effective VAE training with
       calibrated decoders", ICML 2021, arXiv:2006.13202, section 4.1. We bound the
       variance by adding 1e-6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.zeros(()))

    @property
    def variance(self) -> Tensor:
        """The variance, in squared units of the networks; 1 at first."""
        return (_RATE * self.exponent).exp() + _LEAST_VARIANCE

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """Return ``log p(x | output)`` over the last dimension."""
        return log_normal(x, output, self.variance.log())


class NormalPrior(nn.Module):
    """A standard normal or, of classes, a diagonal normal for each that is learned.

    Parameters
    ----------
    n_classes : int
        0 gives the standard normal, which nothing moves.
    n_components : int
    shares : Tensor of shape (n_classes,) or None, default=None
        Of the classes among rows; None are equal ones.

    References
    ----------
    .. [1] K. Sohn, X. Yan, H. Lee, "Learning structured output representation using
       deep conditional generative models", NeurIPS 2015, Eq. (4): a prior that depends
       on the condition. Our encoder and decoder do not.
    """

    def __init__(
        self, n_classes: int, n_components: int, shares: Tensor | None = None
    ) -> None:
        super().__init__()
        shape, moves = (max(n_classes, 1), n_components), n_classes > 0
        self.mean = nn.Parameter(torch.zeros(shape), requires_grad=moves)
        self.log_variance = nn.Parameter(torch.zeros(shape), requires_grad=moves)
        if shares is None:
            shares = torch.full(shape[:1], 1.0 / shape[0])
        # of the rows, not of training: no part of the weights
        self.register_buffer("log_shares", shares.log().float(), persistent=False)

    def of(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance for classes, counted from 0."""
        return self.mean[codes], self.log_variance[codes]

    def divergence(
        self, mean: Tensor, log_variance: Tensor, codes: Tensor | None = None
    ) -> Tensor:
        """Return ``KL(q || p)`` for each coordinate, p of class 0 without `codes`."""
        if codes is None:
            codes = torch.zeros(len(mean), dtype=torch.long, device=mean.device)
        return kl_of_normals(mean, log_variance, *self.of(codes))

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log-density of the mixture of all classes, by their shares.

        Parameters
        ----------
        z : Tensor of shape (..., n_components)

        Returns
        -------
        log_density : Tensor of shape (...)
        """
        each = log_normal(z.unsqueeze(-2), self.mean, self.log_variance)
        return torch.logsumexp(each + self.get_buffer("log_shares"), dim=-1)
