"""What an adversarial pair is to the engine: one step, two games."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from ..nn import (
    MLP,
    Critic,
    CriticPass,
    ExplicitPasses,
    SpectralCritic,
    critic_forward,
)
from ..nn.constraints import DistanceConstraint
from ..nn.critic_steps import (
    Slopes,
    relativistic_critic_slopes,
    relativistic_slope,
    update_critic,
)
from ..nn.losses import energy_distance, hinge_loss
from ..training import Batch, Program, RunningAverage

PROBE_ROWS = 1024


class GANProgram(Program):
    """One step of the critic D and one of the generator G on each batch.

    A batch is rows and, where conditional, their one-hot labels, which both networks
    get beside their input. A subclass says what D and G descend.

    Parameters
    ----------
    generator, average : MLP
        G, and one of the same shapes for its running average.
    critic : Critic
    optimizers : dict of str to torch.optim.Optimizer
        "generator" and "critic", from `make_optimizer`.
    n_noise : int
        Width of the noise.
    average_decay : float
        Weight of the past in the running average.
    probe_noise : Tensor of shape (n, n_noise)
        Noise of the samples that are compared with held-out rows.
    constraint : DistanceConstraint, default=None
        What generated rows are held to.
    constraint_noise : Tensor of shape (n, n_noise), default=None
        Noise of the samples that an epoch is judged by, with a constraint.
    """

    def __init__(
        self,
        generator: MLP,
        average: MLP,
        critic: Critic,
        optimizers: dict[str, torch.optim.Optimizer],
        *,
        n_noise: int,
        average_decay: float,
        probe_noise: Tensor,
        constraint: DistanceConstraint | None = None,
        constraint_noise: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.generator, self.average, self.critic = generator, average, critic
        self.n_noise = n_noise
        self.probe_noise = probe_noise
        self.modules = {"generator": generator, "average": average, "critic": critic}
        self.optimizers = optimizers
        self._passes = ExplicitPasses(generator)
        running = RunningAverage(generator, average, average_decay)
        self.averages = {"generator": running}
        self.constraint, self.constraint_noise = constraint, constraint_noise
        if constraint is not None:
            self.modules["constraint"] = constraint.multipliers
            self.figures = constraint.figures

    @abstractmethod
    def _critic_loss(self, done: CriticPass, n: int, width: int) -> Slopes:
        """Return what is reported of D, and slopes of what it descends.

        The first `n` rows are real, as many generated ones follow; labels follow their
        first `width` columns. The slopes are at the values and at the input gradients.
        """

    @abstractmethod
    def _generator_loss(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return what G descends, and its slopes at the values `fake`.

        `real` are the rows, with labels, that the generated ones were drawn beside.
        """

    def final_critic(self) -> Critic:
        """Return the critic that is left after training."""
        return self.critic

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one step of the critic and one of the generator on a batch."""
        x, *labels = batch
        n = len(x)
        noise = torch.empty(2 * n, self.n_noise, dtype=x.dtype, device=x.device)
        noise.normal_(generator=generator)
        critic_loss = self._step_critic(x, noise[:n], labels)
        generator_loss, figures = self._step_generator(x, noise[n:], labels)
        self.averages["generator"].update()
        return {"loss": generator_loss, "critic_loss": critic_loss, **figures}

    def _step_critic(self, x: Tensor, noise: Tensor, labels: list[Tensor]) -> Tensor:
        with torch.no_grad():
            fake = self.generator(torch.cat([noise, *labels], 1))
        optimizer = self.optimizers["critic"]
        return update_critic(self.critic, optimizer, x, fake, labels, self._critic_loss)

    @torch.no_grad()
    def _step_generator(
        self, x: Tensor, noise: Tensor, labels: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        fake, trace = self._passes.forward(torch.cat([noise, *labels], 1))
        weights, both = self.critic.weights(), torch.cat([fake, *labels], 1)
        done = critic_forward(weights, self.critic.slope, both)
        loss, slope = self._generator_loss(done.value, torch.cat([x, *labels], 1))
        to_rows = slope[:, None] * done.gradient[:, : x.shape[1]]
        figures: dict[str, Tensor] = {}
        if self.constraint is not None:
            codes = self.constraint.codes_of(labels)
            held, figures = self.constraint.slope(fake, codes)
            to_rows += held
        self._passes.backward(to_rows, trace, to_input=False)
        self.optimizers["generator"].step()
        return loss, figures

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the energy distance of held-out rows to samples, and its error.

        With a constraint, also how many of other samples break it.
        """
        x, *labels = (tensor[:PROBE_ROWS] for tensor in rows)
        noise = self.probe_noise
        repeated = [label.repeat(-(-len(noise) // len(x)), 1) for label in labels]
        repeated = [label[: len(noise)] for label in repeated]
        with torch.no_grad():
            fake = self.average(torch.cat([noise, *repeated], 1))
            distance, error = energy_distance(
                torch.cat([x, *labels], 1), torch.cat([fake, *repeated], 1)
            )
        return {"loss": distance, "loss_error": error, **self._broken(labels)}

    @torch.no_grad()
    def _broken(self, labels: list[Tensor]) -> dict[str, Tensor]:
        """Return how samples keep the constraint, made for `labels` in turn."""
        noise = self.constraint_noise
        if self.constraint is None or noise is None:
            return {}
        of = [label.repeat(-(-len(noise) // len(label)), 1) for label in labels]
        of = [label[: len(noise)] for label in of]
        fake = self.average(torch.cat([noise, *of], 1))
        return self.constraint.broken(fake, self.constraint.codes_of(of))


class RelativisticProgram(GANProgram):
    """Relativistic pairs with zero-centred gradient penalties on both sides.

    The critic D minimises ``E f(D(x) - D(G(z))) + gamma / 2 (R1 + R2)`` and the
    generator ``E f(D(G(z)) - D(x))`` with ``f(t) = log(1 + exp(-t))``; R1 and R2 are
    the mean squared input gradients of D at real and at generated rows.
    """

    def __init__(self, *networks: Any, gradient_penalty: float, **options: Any) -> None:
        super().__init__(*networks, **options)
        self.gradient_penalty = gradient_penalty

    def _critic_loss(self, done: CriticPass, n: int, width: int) -> Slopes:
        return relativistic_critic_slopes(done, n, width, self.gradient_penalty)

    def _generator_loss(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        return relativistic_slope(fake, self.critic(real))


class HingeProgram(GANProgram):
    """The hinge game, whose critic is bounded by spectral normalisation.

    The critic D minimises ``E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))`` and the
    generator ``-E D(G(z))``. No layer of D stretches a distance.

    Parameters
    ----------
    start : torch.Generator
        Where the vectors of the power iteration are drawn from, on the CPU.
    """

    critic: SpectralCritic

    def __init__(
        self,
        generator: MLP,
        average: MLP,
        critic: Critic,
        *others: Any,
        start: torch.Generator,
        **options: Any,
    ) -> None:
        spectral = SpectralCritic(critic, start)
        super().__init__(generator, average, spectral, *others, **options)
        self._plain = critic

    def _step_critic(self, x: Tensor, noise: Tensor, labels: list[Tensor]) -> Tensor:
        self.critic.iterate()
        return super()._step_critic(x, noise, labels)

    def _critic_loss(self, done: CriticPass, n: int, width: int) -> Slopes:
        real, fake = done.value[:n], done.value[n:]
        slope = torch.cat([(real < 1.0).to(real).neg_(), (fake > -1.0).to(fake)])
        return hinge_loss(real, fake), slope.div_(n), None

    def _generator_loss(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        return -fake.mean(), torch.full_like(fake, -1.0 / len(fake))

    def final_critic(self) -> Critic:
        """Return the plain critic, its layers over their exact singular values."""
        self.critic.settle()
        return self._plain.eval()
