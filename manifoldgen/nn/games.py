"""Games between a generator and a critic: their losses, and penalties on slopes."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .losses import hinge_loss, relativistic_loss

Values = Callable[[Tensor, Tensor], Tensor]


def wasserstein_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return ``E fake - E real`` of a critic's values, in its units.

    The largest that its negative gets over critics of slope 1 at most is the
    Wasserstein distance of the two samples; `interpolation_penalty` keeps the slope.

    References
    ----------
    .. [1] M. Arjovsky, S. Chintala, L. Bottou, "Wasserstein GAN", ICML 2017,
       arXiv:1701.07875, Eq. (2).
    """
    return fake.mean() - real.mean()


def logistic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the cross-entropy of a critic's values as logits of "real", in nats.

    ``E log(1 + exp(-real)) + E log(1 + exp(fake))``, each over its own rows.

    References
    ----------
    .. [1] I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014,
       arXiv:1406.2661, Eq. (1).
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _raise(fake: Tensor, real: Tensor) -> Tensor:
    return -fake.mean()


def _convince(fake: Tensor, real: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


# what the critic descends, given (real, fake), and the generator, given (fake, real)
_LOSSES: dict[str, tuple[Values, Values]] = {
    "relativistic": (relativistic_loss, relativistic_loss),
    "hinge": (hinge_loss, _raise),
    "wgan-gp": (wasserstein_loss, _raise),
    "nonsaturating": (logistic_loss, _convince),
}

GAMES = tuple(_LOSSES)
"""Names of the games."""


def critic_loss(game: str, real: Tensor, fake: Tensor) -> Tensor:
    """Return what the critic descends in a game, penalties apart.

    Parameters
    ----------
    game : {"relativistic", "hinge", "wgan-gp", "nonsaturating"}
        Pairs of `relativistic_loss`, `hinge_loss`, `wasserstein_loss` or
        `logistic_loss`.
    real, fake : Tensor of shape (n,)
        Values of the critic at real and at generated rows.

    Returns
    -------
    loss : Tensor of shape ()

    Examples
    --------
    >>> import torch
    >>> critic_loss("hinge", torch.tensor([0.5]), torch.tensor([-2.0]))
    tensor(0.5000)
    """
    return _LOSSES[game][0](real, fake)


def generator_loss(game: str, fake: Tensor, real: Tensor) -> Tensor:
    """Return what the generator descends in a game.

    ``E log(1 + exp(real - fake))`` over pairs in the relativistic game, ``-E fake``
    against hinge and Wasserstein critics, and ``E log(1 + exp(-fake))`` in the
    nonsaturating one [1]_.

    Parameters
    ----------
    game : {"relativistic", "hinge", "wgan-gp", "nonsaturating"}
    fake, real : Tensor of shape (n,)
        Values of the critic at generated rows and, which the relativistic game alone
        looks at, at the real ones beside them.

    Returns
    -------
    loss : Tensor of shape ()

    References
    ----------
    .. [1] I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014,
       arXiv:1406.2661, section 3.

    Examples
    --------
    >>> import torch
    >>> generator_loss("wgan-gp", torch.tensor([1.0, 3.0]), torch.zeros(2))
    tensor(-2.)
    """
    return _LOSSES[game][1](fake, real)


def zero_centred_penalty(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the mean squared norm of the critic's input gradient at the rows `x`.

    R1 at real rows, R2 at generated ones [1]_; differentiable in the critic.

    Parameters
    ----------
    critic : callable
        Maps `x` to values of shape (n,); a row's value depends on that row alone.
    x : Tensor of shape (n, ...)
        Taken as constants.

    Returns
    -------
    penalty : Tensor of shape ()
        In squared units of the critic per unit of `x`.

    References
    ----------
    .. [1] L. Mescheder, A. Geiger, S. Nowozin, "Which training methods for GANs do
       actually converge?", ICML 2018, arXiv:1801.04406, Eqs. (9) and (10), without
       their weight of gamma / 2.

    Examples
    --------
    >>> import torch
    >>> zero_centred_penalty(lambda x: 3.0 * x[:, 0], torch.zeros(5, 2)).item()
    9.0
    """
    return squared_slope(input_gradient(critic, x))


def squared_slope(gradient: Tensor) -> Tensor:
    """Return the mean of ``|g|^2`` over input gradients g of shape (n, width)."""
    return gradient.square().sum(1).mean()


def excess_slope(gradient: Tensor) -> Tensor:
    """Return the mean of ``(|g| - 1)^2`` over input gradients g of shape (n, width)."""
    # the norm has no slope at 0, where a critic is flat
    return ((gradient.square().sum(1) + 1e-12).sqrt() - 1.0).square().mean()


def between(real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
    """Return a point of each line from a real to a generated row, drawn uniformly."""
    place = torch.empty(len(real), *[1] * (real.ndim - 1)).to(real)
    return torch.lerp(real, fake, place.uniform_(generator=generator))


def interpolation_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Return ``E (|gradient| - 1)^2`` of the critic between real and generated rows.

    At one point of each pair, uniform on the line between them [1]_; differentiable
    in the critic.

    Parameters
    ----------
    critic : callable
        Maps rows like `real` to values of shape (n,); a row's value depends on that
        row alone.
    real, fake : Tensor of shape (n, ...)
        Taken as constants.
    generator : torch.Generator
        Where the places are drawn from, on the device of the rows.

    Returns
    -------
    penalty : Tensor of shape ()

    References
    ----------
    .. [1] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017,
       arXiv:1704.00028, Eq. (3), without its weight lambda.
    """
    points = between(real, fake, generator)
    return excess_slope(input_gradient(critic, points))


def input_gradient(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the gradient of each row's value, flat, still differentiable."""
    x = x.detach().requires_grad_(True)
    # values of other rows do not depend on a row, so one backward pass has them all
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.flatten(1)
