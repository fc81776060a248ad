"""How a conditional decoder learns rows from their features, as it is to the engine."""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._random import torch_generator
from ..manifold._evidence_program import EvidenceProgram
from ..nn import MLP, ConvEncoder
from ..nn.constraints import DistanceConstraint
from ..nn.likelihoods import free_of_charge, kl_of_normals, log_normal, split_code
from ..training import Batch

N_PROBES = 2048
"""Draws by which an epoch is judged."""

LAW_GAP = 0.2
"""Gap to the law of distances, see `largest_gap`, that is none."""

_BLOCK = 1024


def largest_gap(sample: Tensor, law: Tensor) -> Tensor:
    """Return the largest difference of the distribution functions of two samples.

    Examples
    --------
    >>> largest_gap(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.5, 9.0, 8.0]))
    tensor(0.7500)
    """
    law = law.to(sample)
    both = torch.cat([sample, law])
    shares = [
        torch.searchsorted(part.sort().values, both, right=True) / len(part)
        for part in (sample, law)
    ]
    return (shares[0] - shares[1]).abs().amax()


class FeatureEncoder(nn.Module):
    """Mean and log-variance of q(z | x, f), of an image or row and its features.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width) of a row, for convolutions.
    n_given : int
        Width of the features f.
    n_out : int
        Width of the output.
    channels : sequence of int or None
        Of the convolutions, which see the row alone; None is a perceptron of both.
    hidden_sizes : sequence of int
    activation : str
    dropout : float
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_given: int,
        n_out: int,
        channels: Sequence[int] | None,
        hidden_sizes: Sequence[int],
        activation: str,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_given = n_given
        self.body: ConvEncoder | None = None
        width = math.prod(image_shape)
        if channels is not None:
            width, *hidden_sizes = hidden_sizes or (n_out,)
            self.body = ConvEncoder(
                image_shape, width, channels, (), activation, dropout, generator
            )
        sizes = (width + n_given, *hidden_sizes, n_out)
        self.head = MLP(sizes, activation, dropout, generator)

    def forward(self, both: Tensor) -> Tensor:
        """Map rows with their features behind them to (n, n_out)."""
        x, given = both.tensor_split([both.shape[1] - self.n_given], dim=1)
        if self.body is not None:
            x = self.head.activate(self.body(x))
        return cast(Tensor, self.head(torch.cat([x, given], dim=1)))


def log_weight(
    decoder: nn.Module,
    likelihood: nn.Module,
    noise: Tensor,
    code: Tensor,
    x: Tensor,
    given: Tensor,
) -> Tensor:
    """Return ``log p(x | f, z) + log p(z) - log q(z | x, f)``, z drawn from q.

    Parameters
    ----------
    decoder, likelihood : torch.nn.Module
        p(x | f, z): the decoder maps z and features f to what the likelihood is about.
    noise : Tensor of shape (n, n_components)
        Standard normal, by which z is drawn.
    code : Tensor of shape (n, 2 n_components)
        Mean and log-variance of q(z | x, f).
    x, given : Tensor of shape (n, n_features), (n, n_given)
        Rows and their features, in units of the networks.

    Returns
    -------
    log_weight : Tensor of shape (n,)
        In nats; see `importance_bound` for what it is good for.
    """
    mean, log_variance = split_code(code)
    z = mean + (0.5 * log_variance).exp() * noise
    found: Tensor = likelihood(x, decoder(torch.cat([z, given], dim=1)))
    zero = torch.zeros_like(z)
    prior = log_normal(z, zero, zero) - log_normal(z, mean, log_variance)
    return found + prior


class MahalanobisProgram(EvidenceProgram):
    r"""Raise a bound of log p(x | f), and hold decoded draws to the features of data.

    Minimises, z drawn from q, by the mean over the features of a row,

    .. math:: -\log p(x | f, z) + \beta\,\mathrm{KL}(q(z | x, f)\,\|\,p(z))
              - \gamma \log r(f' | \phi(G(f', z'))) + c(\phi(G(f', z')))

    f' comes from the law of features, z' from the prior, G is the mean of p(x | f, z),
    phi the features, and r a normal law about them in whitened features, of one
    variance, which is learned [1]_: so the row that is decoded has the features that
    were asked for. c holds it within a distance.

    Parameters
    ----------
    networks : dict of str to torch.nn.Module
        "encoder_", "decoder_", "likelihood_" and "feature_likelihood_".
    optimizer : torch.optim.Optimizer
        Of all their parameters.
    held : DistanceConstraint
        It gets features, not rows.
    features : callable
        Maps what the decoder returns to features, with gradients.
    law : Tensor of shape (n_draws, n_given)
        Draws of features from their law, as the decoder sees them; the first 2048
        judge an epoch, the others train.
    asked : Tensor of shape (n_draws, n_given)
        The same as `features` returns them.
    codes : Tensor of shape (n_draws,) or None
        Their classes, where distances are to these.
    n_components : int
        Width of z.
    beta, free_bits, feature_weight, average_decay : float
    warmup_steps, n_steps : int
    prepare : callable or None, default=None
        Brings rows to units of the networks.
    half, foreign : bool, default=False

    References
    ----------
    .. [1] X. Chen et al., "InfoGAN: Interpretable representation learning by
       information maximizing generative adversarial nets", NeurIPS 2016,
       arXiv:1606.03657, Eq. (5): a bound of the information that rows have of f. The
       features, which r is about, are fixed.
    """

    def __init__(
        self,
        networks: dict[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        held: DistanceConstraint,
        *,
        features: Callable[[Tensor], Tensor],
        law: Tensor,
        asked: Tensor,
        codes: Tensor | None,
        n_components: int,
        beta: float = 1.0,
        free_bits: float = 0.0,
        feature_weight: float = 0.1,
        average_decay: float = 0.0,
        warmup_steps: int = 0,
        n_steps: int = 0,
        prepare: Callable[[Tensor], Tensor] | None = None,
        half: bool = False,
        foreign: bool = False,
    ) -> None:
        super().__init__(
            networks,
            optimizer,
            beta=beta,
            free_bits=free_bits,
            average_decay=average_decay,
            warmup_steps=warmup_steps,
            n_steps=n_steps,
            prepare=prepare,
            half=half,
            foreign=foreign,
        )
        self.held, self.features = held, features
        draws = [law, asked] if codes is None else [law, asked, codes]
        self.probes = [tensor[:N_PROBES] for tensor in draws]
        self.draws = [tensor[N_PROBES:] for tensor in draws]
        self.n_components = n_components
        self.feature_weight = feature_weight
        self.modules["multipliers"] = held.multipliers
        self.figures = held.figures | {"feature_loss", "law_gap"}

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one gradient step on a batch of rows and their features."""
        if self._bound is not generator:
            self._bind(generator)
        x, given = batch
        if self.prepare is not None:
            x = self.prepare(x)
        distortion, divergence = self._terms(self.networks, x, given, generator)
        cost = free_of_charge(divergence, self.free_bits)
        loss = distortion + self._beta_now() * cost
        found = {"loss": (distortion + self.beta * divergence.sum(1).mean()).detach()}
        some = torch.randint(
            len(self.draws[0]), (len(x),), generator=generator, device=x.device
        )
        law, asked, *codes = (tensor[some] for tensor in self.draws)
        made = self._made(self.networks, law, generator)
        if self.feature_weight:
            missed = self._missed(self.networks, made, asked)
            loss = loss + self.feature_weight * missed
            found["feature_loss"] = missed.detach()
        penalty, figures = self.held.loss(made, *codes)
        self._descend((loss + penalty) / x.shape[1])
        return {**found, **figures}

    def _made(
        self, networks: dict[str, nn.Module], law: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the features of rows decoded for those of `law`, z from the prior."""
        z = torch.empty(len(law), self.n_components, device=law.device)
        z.normal_(generator=generator)
        with self._autocast(law):
            output = networks["decoder_"](torch.cat([z, law], dim=1))
        return self.features(output.float())

    def _missed(
        self, networks: dict[str, nn.Module], made: Tensor, asked: Tensor
    ) -> Tensor:
        """Return the mean of ``-log r(f | features of the row decoded for f)``."""
        whitening = self.held.distance.get_buffer("whitening")
        apart = (made - asked).to(whitening.dtype) @ whitening
        return -networks["feature_likelihood_"](apart, torch.zeros_like(apart)).mean()

    def _terms(
        self,
        networks: dict[str, nn.Module],
        x: Tensor,
        given: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Return the mean of ``-log p(x | f, z)``, and the divergence by coordinate."""
        with self._autocast(x):
            code = networks["encoder_"](torch.cat([x, given], dim=1))
        mean, log_variance = split_code(code)
        noise = torch.empty_like(mean).normal_(generator=generator)
        z = mean + (0.5 * log_variance).exp() * noise
        with self._autocast(x):
            output = networks["decoder_"](torch.cat([z, given], dim=1))
        distortion = -networks["likelihood_"](x, output.float()).mean()
        return distortion, kl_of_normals(mean, log_variance)

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the mean loss, of the whole beta, and how draws keep the constraint.

        The noise is the same each time, so that epochs differ by their weights alone.
        """
        self._set_training(False)
        self._copy_buffers()
        x, given = rows
        loss, total = (torch.zeros((), device=x.device) for _ in range(2))
        generator = torch_generator(0, x.device)
        with torch.no_grad():
            for part, of in zip(x.split(_BLOCK), given.split(_BLOCK), strict=True):
                if self.prepare is not None:
                    part = self.prepare(part)
                distortion, divergence = self._terms(self.final, part, of, generator)
                mean, share = divergence.sum(1).mean(), len(part) / len(x)
                loss += share * (distortion + self.beta * mean)
                total += share * mean
            law, asked, *codes = self.probes
            made = self._made(self.final, law, generator)
            if self.feature_weight:
                loss += self.feature_weight * self._missed(self.final, made, asked)
            broken = self._broken(self.held.squared(made, *codes))
        self._set_training(True)
        return {"loss": loss, "divergence": total, **broken}

    def _broken(self, squared: Tensor) -> dict[str, Tensor]:
        """Return how draws break the constraint, a law of their distances included.

        Before they learn anything draws crowd about the mean, and are within epsilon.
        """
        broken = self.held.broken_by(squared)
        if self.held.law is not None and "infeasibility" in broken:
            gap = largest_gap(squared.sqrt() / self.held.epsilon, self.held.law)
            broken["law_gap"] = gap
            broken["infeasibility"] = broken["infeasibility"] + F.relu(gap - LAW_GAP)
        return broken
