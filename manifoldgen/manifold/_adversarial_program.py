"""What an adversarial autoencoder is to the engine: one step of all its players."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..nn import Critic, CriticPass, critic_forward
from ..nn.critic_steps import Slopes, update_critic
from ..nn.games import (
    between,
    critic_loss,
    excess_slope,
    generator_loss,
    input_gradient,
    interpolation_penalty,
    squared_slope,
)
from ..nn.losses import energy_distance
from ..training import Batch
from ._autoencoder_program import AutoencoderProgram, Loss

Draw = Callable[[int, torch.Generator], Tensor]

_PROBE_ROWS = 2048


class LatentGame:
    """Codes against draws of the prior, told apart by a critic of perceptrons.

    Parameters
    ----------
    critic : Critic
    optimizer : torch.optim.Optimizer
        Of the critic, from `make_optimizer`.
    game : str
        One of `manifoldgen.nn.games.GAMES`.
    gradient_penalty : float
        Weight of R1 and R2, halved; with "wgan-gp" that of `interpolation_penalty`.
    """

    def __init__(
        self,
        critic: Critic,
        optimizer: torch.optim.Optimizer,
        game: str,
        gradient_penalty: float,
    ) -> None:
        self.critic, self.optimizer = critic, optimizer
        self.game, self.gradient_penalty = game, gradient_penalty

    def update(
        self, real: Tensor, fake: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Take a step of the critic, and return its loss and its share of right pairs.

        A pair is right where the draw of the prior gets more than the code beside it.
        """
        found: list[Tensor] = []

        def slopes(done: CriticPass, n: int, width: int) -> Slopes:
            found.append((done.value[:n] > done.value[n:]).float().mean())
            return self._slopes(done, n)

        if self.game == "wgan-gp":
            loss = self._descend_between(real, fake, generator, found)
        else:
            loss = update_critic(self.critic, self.optimizer, real, fake, [], slopes)
        return {"critic_loss": loss, "critic_accuracy": found[0]}

    def _slopes(self, done: CriticPass, n: int) -> Slopes:
        """Return the loss with its penalty, and the slopes of both."""
        with torch.enable_grad():
            values = done.value.clone().requires_grad_(True)
            loss = critic_loss(self.game, values[:n], values[n:])
            (at_value,) = torch.autograd.grad(loss, values)
        squares = done.gradient.square().sum() / n
        weight = self.gradient_penalty
        loss = loss.detach() + 0.5 * weight * squares
        return loss, at_value, done.gradient * (weight / n)

    def _descend_between(
        self,
        real: Tensor,
        fake: Tensor,
        generator: torch.Generator,
        found: list[Tensor],
    ) -> Tensor:
        """Take a step with the penalty at places between the rows."""
        better, worse = self.critic(real), self.critic(fake)
        found.append((better > worse).float().mean())
        penalty = interpolation_penalty(self.critic, real, fake, generator)
        loss = critic_loss(self.game, better, worse) + self.gradient_penalty * penalty
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def slope(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the codes descend, and its slope at them."""
        weights = self.critic.weights()
        done = critic_forward(weights, self.critic.slope, torch.cat([fake, real]))
        n = len(fake)
        with torch.enable_grad():
            values = done.value.clone().requires_grad_(True)
            loss = generator_loss(self.game, values[:n], values[n:])
            (at_value,) = torch.autograd.grad(loss, values)
        return loss.detach(), at_value[:n, None] * done.gradient[:n]


class DataGame:
    """Decoded draws of the prior against real rows, told apart by any critic.

    Parameters
    ----------
    critic : torch.nn.Module
        Maps rows of shape (n, n_features) to values of shape (n,). Its method
        `input_gradient`, where it has one, gives the slopes that are penalised, which
        is cheaper than differentiating twice.
    optimizer, game, gradient_penalty
        As of `LatentGame`.
    penalty_interval : int
        The penalty is taken every so many steps, and counts as much more.
    squash : callable
        What makes rows of the output of the decoder.
    half : bool
        Let the critic, but not the penalty, compute in bfloat16.
    """

    def __init__(
        self,
        critic: nn.Module,
        optimizer: torch.optim.Optimizer,
        game: str,
        gradient_penalty: float,
        *,
        squash: Callable[[Tensor], Tensor],
        penalty_interval: int = 1,
        half: bool = False,
    ) -> None:
        self.critic, self.optimizer = critic, optimizer
        self.game, self.gradient_penalty = game, gradient_penalty
        self.penalty_interval = penalty_interval
        self.squash, self.half = squash, half
        self.n_steps = 0

    def update(
        self, real: Tensor, output: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Take a step of the critic on real rows and as many of the decoder's."""
        fake = self.squash(output).detach()
        better, worse = self._values(torch.cat([real, fake])).chunk(2)
        loss = critic_loss(self.game, better, worse)
        if self.gradient_penalty and self.n_steps % self.penalty_interval == 0:
            penalty = self._penalty(real, fake, generator)
            loss = loss + self.gradient_penalty * self.penalty_interval * penalty
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        self.optimizer.step()
        self.n_steps += 1
        right = (better > worse).float().mean()
        return {"sharpening_loss": loss.detach(), "sharpening_accuracy": right}

    def slope(self, output: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the decoder descends, and its slope at its output."""
        with torch.no_grad():
            beside = self._values(real)
        with torch.enable_grad():
            leaf = output.detach().requires_grad_(True)
            loss = generator_loss(self.game, self._values(self.squash(leaf)), beside)
            (slope,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), slope

    def _penalty(
        self, real: Tensor, fake: Tensor, generator: torch.Generator
    ) -> Tensor:
        if self.game == "wgan-gp":
            return excess_slope(self._gradient(between(real, fake, generator)))
        return squared_slope(self._gradient(torch.cat([real, fake])))

    def _gradient(self, x: Tensor) -> Tensor:
        own = getattr(self.critic, "input_gradient", None)
        gradient: Tensor = input_gradient(self.critic, x) if own is None else own(x)
        return gradient

    def _values(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            values: Tensor = self.critic(x)
        return values.float()


class AdversarialProgram(AutoencoderProgram):
    """Reconstruct, with codes that look like draws of a prior.

    A batch is rows or, with a term of neighbours, rows and as many neighbours of
    theirs. Each step updates the critics, then encoder and decoder against them.

    Parameters
    ----------
    draw : callable
        Takes a number of rows and a generator to draws of the prior.
    probe : Tensor of shape (n, n_components)
        Draws of the prior that held-out codes are compared with.
    latent_game : LatentGame or None
    data_game : DataGame or None
    reconstruction_weight, prior_weight, sharpening_weight, neighbor_weight : float
    neighborhood : callable
        Takes codes of rows and of neighbours to a loss.
    latent_noise : float
        Standard deviation of what is added to codes in training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        *,
        draw: Draw,
        probe: Tensor,
        latent_game: LatentGame | None,
        data_game: DataGame | None,
        reconstruction_weight: float,
        prior_weight: float,
        sharpening_weight: float,
        neighbor_weight: float,
        neighborhood: Loss,
        latent_noise: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(encoder, decoder, optimizer, loss, **options)
        self.draw, self.probe = draw, probe
        self.latent_game, self.data_game = latent_game, data_game
        self.reconstruction_weight = reconstruction_weight
        self.prior_weight, self.sharpening_weight = prior_weight, sharpening_weight
        self.neighbor_weight, self.neighborhood = neighbor_weight, neighborhood
        self.latent_noise = latent_noise
        games = {"critic": latent_game, "data_critic": data_game}
        for name, game in games.items():
            if game is not None:
                self.modules[name] = game.critic
                self.optimizers[name] = game.optimizer

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one step of the critics, then one of encoder and decoder."""
        if self._bound is not generator:
            self._bind(generator)
        (x,) = batch
        if self.prepare is not None:
            x = self.prepare(x)
        if self.augment is not None:
            x = self.augment(x, generator)
        seen = x
        if self.noise:
            seen = x + self.noise * torch.empty_like(x).normal_(generator=generator)
        descend = self._descend if self._explicit is None else self._descend_explicit
        figures = descend(seen, x[: self._n_rows(x)], generator)
        self.optimizer.step()
        return figures

    def _descend(
        self, seen: Tensor, x: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Leave the gradients of all terms in the parameters, and return figures."""
        with self._autocast(x):
            z = self.encoder(seen)
        noise = self._jitter(z, len(x), generator)
        figures, at_codes = self._play(z.detach().float(), noise, generator)
        drawn = self._drawn(len(x), generator)
        with self._autocast(x):
            output = self.decoder(torch.cat([z[: len(x)] + noise, *drawn]))
            reconstruction = self.loss(output[: len(x)], x)
        found, at_output = self._sharpen(output.detach().float(), x, generator)
        self.optimizer.zero_grad(set_to_none=False)
        ends = [self.reconstruction_weight * reconstruction]
        slopes: list[Tensor | None] = [None]
        for end, slope in ((z, at_codes), (output, at_output)):
            if slope is not None:
                ends.append(end)
                slopes.append(slope.to(end.dtype))
        torch.autograd.backward(ends, slopes)
        return self._figures(reconstruction.detach(), {**figures, **found})

    def _descend_explicit(
        self, seen: Tensor, x: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Do the same without autograd."""
        assert self._explicit is not None
        encoder, decoder, loss_and_slope = self._explicit
        n = len(x)
        z, encoder_trace = encoder.forward(seen)
        noise = self._jitter(z, n, generator)
        figures, at_codes = self._play(z, noise, generator)
        drawn = self._drawn(n, generator)
        given = torch.cat([z[:n] + noise, *drawn])
        output, decoder_trace = decoder.forward(given)
        found, at_output = self._sharpen(output, x, generator)
        reconstruction, slope = loss_and_slope(output[:n], x)
        slope = slope * self.reconstruction_weight
        if at_output is not None:
            at_output[:n] += slope
            slope = at_output
        slope = decoder.backward(slope, decoder_trace, to_input=True)[:n]
        if at_codes is not None:
            at_codes[:n] += slope
            slope = at_codes
        encoder.backward(slope, encoder_trace, to_input=False)
        return self._figures(reconstruction, {**figures, **found})

    def _figures(
        self, reconstruction: Tensor, found: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return what is descended first, then its parts and those of the critics."""
        loss = self.reconstruction_weight * reconstruction
        for name, weight in (
            ("prior", self.prior_weight),
            ("neighbors", self.neighbor_weight),
            ("sharpening", self.sharpening_weight),
        ):
            if name in found:
                loss = loss + weight * found[name]
        return {"loss": loss, "reconstruction": reconstruction, **found}

    def _n_rows(self, x: Tensor) -> int:
        """Return how many rows of a batch are not there as neighbours."""
        return len(x) // 2 if self.neighbor_weight else len(x)

    def _jitter(self, z: Tensor, n: int, generator: torch.Generator) -> Tensor | float:
        if not self.latent_noise:
            return 0.0
        noise = torch.empty_like(z[:n], dtype=torch.float32)
        return self.latent_noise * noise.normal_(generator=generator)

    def _drawn(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """Return as many draws of the prior to decode beside `n` rows."""
        return [] if self.data_game is None else [self.draw(n, generator)]

    def _play(
        self, z: Tensor, noise: Tensor | float, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Update the critic of codes; return figures and what the codes follow."""
        figures: dict[str, Tensor] = {}
        slope: Tensor | None = None
        n = self._n_rows(z)
        if self.neighbor_weight:
            with torch.enable_grad():
                leaf = z.detach().requires_grad_(True)
                loss = self.neighborhood(leaf[:n], leaf[n:])
                (slope,) = torch.autograd.grad(loss, leaf)
            slope *= self.neighbor_weight
            figures["neighbors"] = loss.detach()
        if self.latent_game is not None:
            codes = z[:n] + noise
            real = self.draw(n, generator)
            figures |= self.latent_game.update(real, codes, generator)
            figures["prior"], at_codes = self.latent_game.slope(codes, real)
            slope = torch.zeros_like(z) if slope is None else slope
            slope[:n] += self.prior_weight * at_codes
        return figures, slope

    def _sharpen(
        self, output: Tensor, x: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Update the critic of rows; return figures and what the output follows.

        Of the output, decoded draws of the prior follow the reconstructions of `x`,
        which this game leaves alone.
        """
        if self.data_game is None:
            return {}, None
        drawn = output[len(x) :]
        figures = self.data_game.update(x, drawn, generator)
        slope = torch.zeros_like(output)
        loss, at_drawn = self.data_game.slope(drawn, x)
        slope[len(x) :] = self.sharpening_weight * at_drawn
        return {**figures, "sharpening": loss}, slope

    @torch.no_grad()
    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return how well clean rows come back, and how far codes are from the prior.

        What is watched is their weighted sum.
        """
        self._set_training(False)
        x = rows[0]
        total = torch.zeros((), device=x.device)
        codes: list[Tensor] = []
        for part in x.split(1024):
            clean = part if self.prepare is None else self.prepare(part)
            z = self.encoder(clean)
            codes.append(z[: max(0, _PROBE_ROWS - 1024 * len(codes))])
            total += self.loss(self.decoder(z), clean) * (len(part) / len(x))
        self._set_training(True)
        distance, _ = energy_distance(torch.cat(codes), self.probe)
        loss = self.reconstruction_weight * total + self.prior_weight * distance
        return {"loss": loss, "reconstruction": total, "prior_distance": distance}

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimizers and the number of steps of the game of rows."""
        taken = 0 if self.data_game is None else self.data_game.n_steps
        return {**super().state_dict(), "n_sharpening_steps": taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict(state)
        if self.data_game is not None:
            self.data_game.n_steps = state["n_sharpening_steps"]
