"""What a manifold and a generator in one are to the engine: a game in data space."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..nn import Critic, critic_forward
from ..nn.critic_steps import (
    relativistic_critic_slopes,
    relativistic_slope,
    update_critic,
)
from ..training import Batch, Program, RunningAverage
from ._gan_program import PROBE_ROWS

Draw = Callable[[Tensor, list[Tensor]], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
OwnLoss = Callable[[Tensor, list[Tensor], torch.Generator], Tensor | None]
NoiseFor = Callable[[int, list[Tensor], torch.Generator], Tensor]

_PROBE_NOISE = 2048


class Way:
    """From noise to latents to rows, by networks of one age.

    Parameters
    ----------
    decoder : torch.nn.Module
    to_decoder : tuple of Tensor
        Matrix and offset that take latents, in units of the generator, to those of the
        decoder.
    squash : callable
        What makes rows of the output of the decoder.
    network : torch.nn.Module or None, default=None
        That of the generator, None for one that is drawn from beforehand.
    draw : callable, default=None
        Takes noise and one-hot labels through `network` to latents.
    """

    def __init__(
        self,
        decoder: nn.Module,
        to_decoder: tuple[Tensor, Tensor],
        squash: Callable[[Tensor], Tensor],
        network: nn.Module | None = None,
        draw: Draw | None = None,
    ) -> None:
        self.decoder, self.network = decoder, network
        self.to_decoder, self.squash = to_decoder, squash
        self._draw = draw

    def latents(self, noise: Tensor, labels: list[Tensor]) -> Tensor:
        """Return latents drawn for labels; without a network `noise` are latents."""
        return noise if self._draw is None else self._draw(noise, labels).float()

    def decoded(self, latents: Tensor) -> Tensor:
        """Return what the decoder makes of latents, as its loss takes it."""
        matrix, offset = self.to_decoder
        output: Tensor = self.decoder(torch.addmm(offset, latents, matrix))
        return output

    def rows(self, latents: Tensor) -> Tensor:
        """Return rows in units of the manifold."""
        return self.squash(self.decoded(latents))


class JointProgram(Program):
    """Play a relativistic game between decoded samples and rows.

    The critic D minimises ``E f(D(x) - D(x')) + gamma / 2 (R1 + R2)`` with
    ``f(t) = log(1 + exp(-t))``; decoder and generator, which make x', minimise
    ``E f(D(x') - D(x))``, plus the loss of the decoder on latents of real rows, and
    plus the loss of the generator on the same latents, each with its weight. A batch
    is rows, their latents, their one-hot labels where there are some, and latents that
    were drawn beforehand where the generator is not trained.

    Parameters
    ----------
    way, average : Way
        What is trained, and one of the same shapes for the running averages.
    critic : Critic
    optimizers : dict of str to torch.optim.Optimizer
        "decoder", "critic" and, where the generator is trained, "generator".
    loss : callable
        Of the output of the decoder and rows, in units of the manifold.
    own_loss : callable or None
        Of latents, labels and a source of randomness: that of the generator.
    noise_for : callable or None
        Takes a count, labels and a source of randomness to noise, where the generator
        is trained.
    prepare : callable or None
        Takes rows of a batch to units of the manifold.
    to_critic : tuple of Tensor
        Mean and spread of the rows in these units; the critic sees rows without them.
    """

    def __init__(
        self,
        way: Way,
        average: Way,
        critic: Critic,
        optimizers: dict[str, torch.optim.Optimizer],
        *,
        loss: Loss,
        own_loss: OwnLoss | None,
        noise_for: NoiseFor | None,
        prepare: Callable[[Tensor], Tensor] | None,
        to_critic: tuple[Tensor, Tensor],
        conditional: bool,
        probe_seed: int,
        gradient_penalty: float,
        reconstruction_weight: float,
        generator_weight: float,
        average_decay: float,
        foreign: bool,
    ) -> None:
        super().__init__()
        self.way, self.average, self.critic = way, average, critic
        self.optimizers = optimizers
        self.loss, self.own_loss = loss, own_loss
        self.noise_for, self.prepare = noise_for, prepare
        self.to_critic = to_critic
        self.conditional = conditional
        self.probe_seed = probe_seed
        self.gradient_penalty = gradient_penalty
        self.reconstruction_weight = reconstruction_weight
        self.generator_weight = generator_weight
        self.foreign = foreign
        self.modules = {"critic": critic}
        self._add("decoder", way.decoder, average.decoder, average_decay)
        if way.network is not None and average.network is not None:
            self._add("generator", way.network, average.network, average_decay)
        self._compared: tuple[Tensor, Tensor, Tensor] | None = None

    def _add(
        self, name: str, live: nn.Module, average: nn.Module, decay: float
    ) -> None:
        self.modules |= {name: live, f"average_{name}": average}
        self.averages[name] = RunningAverage(live, average, decay)

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one step of the critic, and one of decoder and generator."""
        x, latents, labels, pool = self._parts(batch)
        first, second = self._noises(len(x), labels, pool, generator)
        with torch.no_grad():
            fake = self._seen(self.way.rows(self.way.latents(first, labels)))
        real = self._seen(x)
        critic_loss = self._step_critic(real, fake, labels)
        losses = self._step_way(x, real, latents, second, labels, generator)
        for average in self.averages.values():
            average.update()
        return losses | {"critic_loss": critic_loss}

    def _step_critic(self, real: Tensor, fake: Tensor, labels: list[Tensor]) -> Tensor:
        def slopes(done: Any, n: int, width: int) -> Any:
            return relativistic_critic_slopes(done, n, width, self.gradient_penalty)

        optimizer = self.optimizers["critic"]
        return update_critic(self.critic, optimizer, real, fake, labels, slopes)

    def _step_way(
        self,
        x: Tensor,
        real: Tensor,
        latents: Tensor,
        noise: Tensor,
        labels: list[Tensor],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Descend the game, the reconstruction and the generator's own loss."""
        fake = self._seen(self.way.rows(self.way.latents(noise, labels)))
        both = torch.cat([fake.detach(), *labels], 1)
        done = critic_forward(self.critic.weights(), self.critic.slope, both)
        with torch.no_grad():
            value = self.critic(torch.cat([real, *labels], 1))
        game, slope = relativistic_slope(done.value, value)
        to_rows = slope[:, None] * done.gradient[:, : fake.shape[1]]
        restored = self.loss(self.way.decoded(latents), x)
        total = self.reconstruction_weight * restored
        losses = {"loss": game, "reconstruction": restored.detach()}
        own = self.own_loss and self.own_loss(latents, labels, generator)
        if own is not None:
            total = total + self.generator_weight * own
            losses["generator_loss"] = own.detach()
        for name in self.averages:
            self.optimizers[name].zero_grad(set_to_none=False)
        torch.autograd.backward([fake, total], [to_rows, torch.ones_like(total)])
        for name in self.averages:
            self.optimizers[name].step()
        return losses

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the energy distance of held-out rows to samples, in data space.

        The first call takes the networks for those that later ones, on the same rows,
        are compared with: the error is that of the difference, over the choice of rows
        and of noise, which both share. One may be better by far less than the choice
        of rows makes all of them vary.
        """
        batch = tuple(tensor[:PROBE_ROWS] for tensor in rows)
        x, latents, labels, pool = self._parts(batch)
        with torch.no_grad():
            noise, by = self._probe_noise(labels, pool, x.device)
            drawn = [
                self._seen(self.average.rows(self.average.latents(part, list(label))))
                for part, *label in zip(
                    *(t.split(PROBE_ROWS) for t in (noise, *by)), strict=True
                )
            ]
            samples = torch.cat([torch.cat(drawn), *by], 1)
            distance, to_y, to_x = _energy(
                torch.cat([self._seen(x), *labels], 1), samples
            )
            restored = self.loss(self.average.decoded(latents), x)
        found = {"loss": distance, "reconstruction": restored}
        if self._compared is not None and rows[0] is self._compared[0]:
            _, first_y, first_x = self._compared
            error = _deviation(to_y - first_y) + _deviation(to_x - first_x)
            found["loss_error"] = error.sqrt()
        elif self._compared is None:
            self._compared = rows[0], to_y, to_x
        return found

    def _parts(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Return rows in units of the manifold, latents, labels, and drawn latents."""
        x, latents, *rest = batch
        if self.prepare is not None:
            x = self.prepare(x)
        n_labels = int(self.conditional)
        return x, latents, rest[:n_labels], rest[n_labels:]

    def _noises(
        self,
        n_rows: int,
        labels: list[Tensor],
        pool: list[Tensor],
        generator: torch.Generator,
    ) -> list[Tensor]:
        """Return noise for the two steps, or two of the draws beside each row."""
        if self.noise_for is not None:
            return [self.noise_for(n_rows, labels, generator) for _ in range(2)]
        draws = pool[0].unflatten(1, (-1, len(self.way.to_decoder[0])))
        order = torch.randperm(
            draws.shape[1], generator=generator, device=generator.device
        )
        return [draws[:, place] for place in order[:2]]

    def _probe_noise(
        self, labels: list[Tensor], pool: list[Tensor], device: torch.device
    ) -> tuple[Tensor, list[Tensor]]:
        """Return noise that is the same each time, or draws, and labels for it."""
        if self.noise_for is None:
            draws = pool[0].unflatten(1, (-1, len(self.way.to_decoder[0])))
            labels = [label.repeat_interleave(draws.shape[1], 0) for label in labels]
            return draws.flatten(0, 1), labels
        if labels:
            times = -(-_PROBE_NOISE // len(labels[0]))
            labels = [label.repeat(times, 1)[:_PROBE_NOISE] for label in labels]
        generator = torch.Generator(device=device)
        generator.manual_seed(self.probe_seed)
        return self.noise_for(_PROBE_NOISE, labels, generator), labels

    def _seen(self, rows: Tensor) -> Tensor:
        mean, spread = self.to_critic
        return (rows - mean) / spread


def _energy(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the energy distance, and what each row of x and of y adds by the other.

    Unbiased; the terms are ``2 (E|x - y| - E|x - x'|)`` of a row x and
    ``2 (E|y - x| - E|y - y'|)`` of a row y, whose deviations make that of the whole.
    """
    n, m = len(x), len(y)
    across = torch.cdist(x, y)
    within_x = torch.cdist(x, x).sum(1) / max(n - 1, 1)
    within_y = torch.cdist(y, y).sum(1) / max(m - 1, 1)
    distance = 2.0 * across.mean() - within_x.mean() - within_y.mean()
    return (
        distance,
        2.0 * (across.mean(1) - within_x),
        2.0 * (across.mean(0) - within_y),
    )


def _deviation(terms: Tensor) -> Tensor:
    """Return the squared standard error of the mean."""
    return terms.var(correction=0) / len(terms)
