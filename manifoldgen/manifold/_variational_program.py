"""What a variational autoencoder is to the engine."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._random import torch_generator
from ..nn.likelihoods import NormalPrior, free_of_charge, log_normal, split_code
from ..training import Batch
from ._evidence_program import EvidenceProgram

Change = Callable[[Tensor, torch.Generator], Tensor]

_BLOCK = 1024


class VariationalProgram(EvidenceProgram):
    """Raise the evidence lower bound, in nats a row.

    Minimises ``-log p(x | z) + beta KL(q(z | x) || p(z))``, z drawn from q, by the mean
    over features; beta grows from 0 over `warmup_steps`, of which `n_steps` are over.

    Parameters
    ----------
    networks : dict of str to torch.nn.Module
        "encoder_", "decoder_", "prior_" and "likelihood_".
    optimizer : torch.optim.Optimizer
        Of all their parameters.
    beta, free_bits, average_decay : float
    warmup_steps, n_steps : int
    prepare, augment : callable or None, default=None
        Bring rows to units of the networks, and change them there.
    half, foreign : bool, default=False
    """

    def __init__(
        self,
        networks: dict[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        beta: float = 1.0,
        free_bits: float = 0.0,
        average_decay: float = 0.0,
        warmup_steps: int = 0,
        n_steps: int = 0,
        prepare: Callable[[Tensor], Tensor] | None = None,
        augment: Change | None = None,
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
        self.augment = augment

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one gradient step on a batch of rows and, where given, their classes."""
        if self._bound is not generator:
            self._bind(generator)
        x, *codes = batch
        if self.prepare is not None:
            x = self.prepare(x)
        if self.augment is not None:
            x = self.augment(x, generator)
        noise = torch.empty(len(x), self._width, device=x.device)
        noise.normal_(generator=generator)
        distortion, divergence = self._terms(self.networks, x, noise, codes)
        cost = free_of_charge(divergence, self.free_bits)
        loss = distortion + self._beta_now() * cost
        self._descend(loss / x.shape[1])
        return {"loss": (distortion + self.beta * divergence.sum(1).mean()).detach()}

    @property
    def _width(self) -> int:
        prior = self.networks["prior_"]
        assert isinstance(prior, NormalPrior)
        return prior.mean.shape[1]

    def _terms(
        self,
        networks: dict[str, nn.Module],
        x: Tensor,
        noise: Tensor,
        codes: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return the mean of ``-log p(x | z)``, and the divergence by coordinate."""
        prior = networks["prior_"]
        assert isinstance(prior, NormalPrior)
        with self._autocast(x):
            code = networks["encoder_"](x)
        mean, log_variance = split_code(code)
        z = mean + (0.5 * log_variance).exp() * noise
        with self._autocast(x):
            output = networks["decoder_"](z)
        distortion = -networks["likelihood_"](x, output.float()).mean()
        if codes or len(prior.mean) == 1:
            return distortion, prior.divergence(mean, log_variance, *codes)
        # of rows without a class: by the draw, as that of a mixture has no closed form
        estimate = log_normal(z, mean, log_variance) - prior.log_density(z)
        return distortion, estimate.unsqueeze(1)

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the mean loss, of the whole beta, and its divergence.

        The noise is the same each time, so that epochs differ by their weights alone.
        """
        self._set_training(False)
        self._copy_buffers()
        x, *codes = rows
        loss, total = (torch.zeros((), device=x.device) for _ in range(2))
        generator = torch_generator(0, x.device)
        with torch.no_grad():
            for part, *of in zip(*(t.split(_BLOCK) for t in (x, *codes)), strict=True):
                if self.prepare is not None:
                    part = self.prepare(part)
                noise = torch.empty(len(part), self._width, device=x.device)
                noise.normal_(generator=generator)
                distortion, divergence = self._terms(self.final, part, noise, of)
                mean, share = divergence.sum(1).mean(), len(part) / len(x)
                loss += share * (distortion + self.beta * mean)
                total += share * mean
        self._set_training(True)
        return {"loss": loss, "divergence": total}
