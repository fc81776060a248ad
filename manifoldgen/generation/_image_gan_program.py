"""What a pair of networks that play for images is to the engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..nn.augment import augment
from ..nn.games import (
    between,
    critic_loss,
    excess_slope,
    generator_loss,
    squared_slope,
)
from ..nn.images import ImageCritic, ImageGenerator, SpectralImageCritic
from ..nn.losses import energy_distance
from ..training import Batch, Program, RunningAverage

PROBE_ROWS = 1024
_PART = 256  # samples that the probe draws at a time


class ImageGANProgram(Program):
    """A step of the critic on each batch, and one of the generator on some.

    A batch is images as rows and, where conditional, their one-hot labels. Both
    networks see pixels in [-1, 1]. The generator moves against the samples that its
    critic has just been shown, so they are drawn once a step; in the relativistic game
    they are held against the real values from before the critic's step.

    Parameters
    ----------
    generator, average : ImageGenerator
        The one that learns, and one of the same shapes for its running average.
    critic : ImageCritic
        A `SpectralImageCritic` takes a step of its power iteration before each of its
        own.
    optimizers : dict of str to torch.optim.Optimizer
        "generator" and "critic", from `make_optimizer`.
    game : str
        One of `manifoldgen.nn.games.GAMES`.
    n_noise : int
        Width of the noise.
    gradient_penalty : float
        Weight of the game's penalty: gamma of ``gamma / 2 (R1 + R2)`` in the
        relativistic game, of ``gamma / 2 R1`` in the nonsaturating and the hinge
        game, lambda in "wgan-gp".
    penalty_interval : int
        The penalty is taken every so many steps, and counts as much more.
    n_critic_steps : int
        Steps of the critic for each of the generator.
    average_decay : float
        Weight of the past in the running average.
    probe_noise : Tensor of shape (n, n_noise)
        Noise of the samples that are compared with held-out images.
    to_units : callable
        Maps rows as they lie on the device to pixels in [-1, 1].
    operations : dict of str to float
        Random changes of what the critic sees, for `manifoldgen.nn.augment.augment`.
    label_weight : float
        What one-hot labels are multiplied by in the probe, beside pixels in [0, 1].
    least_rows : int
        Rows of a batch, at least. The few that may be left over at the end of an epoch
        would move both networks as far as a whole batch does.
    half : bool
        Let the networks, but not the penalties, compute in bfloat16.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        average: ImageGenerator,
        critic: ImageCritic,
        optimizers: dict[str, torch.optim.Optimizer],
        *,
        game: str,
        n_noise: int,
        gradient_penalty: float,
        penalty_interval: int,
        n_critic_steps: int,
        average_decay: float,
        probe_noise: Tensor,
        to_units: Callable[[Tensor], Tensor],
        operations: dict[str, float],
        label_weight: float,
        least_rows: int = 1,
        half: bool = False,
    ) -> None:
        super().__init__()
        self.least_rows = least_rows
        self.generator, self.average, self.critic = generator, average, critic
        self.game, self.n_noise = game, n_noise
        self.gradient_penalty = gradient_penalty
        self.penalty_interval, self.n_critic_steps = penalty_interval, n_critic_steps
        self.probe_noise, self.to_units = probe_noise, to_units
        self.operations, self.label_weight = operations, label_weight
        self.half = half
        self.n_steps = 0
        self.modules = {"generator": generator, "average": average, "critic": critic}
        self.optimizers = optimizers
        running = RunningAverage(generator, average, average_decay)
        self.averages = {"generator": running}

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take a step of the critic and, where it is its turn, of the generator."""
        rows, *labels = batch
        x = self.to_units(rows)
        moves = self.n_steps % self.n_critic_steps == self.n_critic_steps - 1
        noise = torch.empty(len(x), self.n_noise, dtype=x.dtype, device=x.device)
        noise.normal_(generator=generator)
        with torch.set_grad_enabled(moves), self._autocast(x):
            fake = self.generator(torch.cat([noise, *labels], 1))
        value, real, drawn = self._step_critic(x, fake.detach(), labels, generator)
        if moves:
            loss = self._step_generator(fake, real, labels, generator)
        else:
            loss = generator_loss(self.game, drawn, real)
        self.n_steps += 1
        accuracy = (real[:, None] > drawn).to(x.dtype).mean()
        return {"loss": loss, "critic_loss": value, "critic_accuracy": accuracy}

    def _step_critic(
        self, x: Tensor, fake: Tensor, labels: list[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the critic's loss, and its values before the step."""
        seen = self._changed(torch.cat([x, fake]), generator)
        twice = [label.repeat(2, 1) for label in labels]
        if isinstance(self.critic, SpectralImageCritic):
            self.critic.iterate()
        with self._autocast(x):
            real, drawn = self.critic(seen, twice).float().chunk(2)
        loss = critic_loss(self.game, real, drawn)
        total = loss
        if self.gradient_penalty and self.n_steps % self.penalty_interval == 0:
            real_seen, fake_seen = seen.chunk(2)
            penalty = self._penalty(real_seen, fake_seen, labels, generator)
            total = loss + self.gradient_penalty * self.penalty_interval * penalty
        optimizer = self.optimizers["critic"]
        optimizer.zero_grad(set_to_none=False)
        total.backward()
        optimizer.step()
        return loss.detach(), real.detach(), drawn.detach()

    def _penalty(
        self,
        real: Tensor,
        fake: Tensor,
        labels: list[Tensor],
        generator: torch.Generator,
    ) -> Tensor:
        gradient = self.critic.input_gradient
        if self.game == "relativistic":  # the mean over both is (R1 + R2) / 2
            twice = [label.repeat(2, 1) for label in labels]
            return squared_slope(gradient(torch.cat([real, fake]), twice))
        if self.game == "wgan-gp":
            return excess_slope(gradient(between(real, fake, generator), labels))
        return squared_slope(gradient(real, labels)) / 2.0

    def _step_generator(
        self,
        fake: Tensor,
        real: Tensor,
        labels: list[Tensor],
        generator: torch.Generator,
    ) -> Tensor:
        with self._autocast(fake):
            values = self.critic(self._changed(fake, generator), labels).float()
        loss = generator_loss(self.game, values, real)
        optimizer = self.optimizers["generator"]
        optimizer.zero_grad(set_to_none=False)
        loss.backward(inputs=list(self.generator.parameters()))
        optimizer.step()
        self.averages["generator"].update()
        return loss.detach()

    def _changed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return pixels in [-1, 1] as the critic sees them."""
        if not self.operations:
            return x
        images = (x.reshape(-1, *self.critic.image_shape) + 1.0) / 2.0
        return augment(images, self.operations, generator).flatten(1) * 2.0 - 1.0

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the energy distance of held-out images to samples, and its error.

        Pixels count in units of their range, whatever their number.
        """
        x, *labels = (tensor[:PROBE_ROWS] for tensor in rows)
        noise = self.probe_noise
        repeated = [label.repeat(-(-len(noise) // len(x)), 1) for label in labels]
        repeated = [label[: len(noise)] for label in repeated]
        with torch.no_grad():
            inputs = torch.cat([noise, *repeated], 1).split(_PART)
            fake = torch.cat([self.average(part) for part in inputs])
            distance, error = energy_distance(
                self.beside(self.to_units(x), labels), self.beside(fake, repeated)
            )
        return {"loss": distance, "loss_error": error}

    def beside(self, x: Tensor, labels: list[Tensor]) -> Tensor:
        """Return pixels in [0, 1], and weighted labels, as the probe compares them."""
        weighted = [self.label_weight * label for label in labels]
        return torch.cat([(x + 1.0) / 2.0, *weighted], 1)

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimizers, averages and the number of steps."""
        return {**super().state_dict(), "n_steps": self.n_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict(state)
        self.n_steps = state["n_steps"]

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if not self.half:
            return nullcontext()
        return torch.autocast(x.device.type, torch.bfloat16)
