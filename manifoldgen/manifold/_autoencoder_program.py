"""What an autoencoder is to the engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..nn import LOSS_AND_SLOPE, MLP, ExplicitPasses, bind_generator
from ..nn.constraints import DistanceConstraint
from ..training import Batch, Program

Loss = Callable[[Tensor, Tensor], Tensor]
Augment = Callable[[Tensor, torch.Generator], Tensor]
Explicit = tuple[
    ExplicitPasses,
    ExplicitPasses,
    Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
]
Jitter = tuple[Tensor, Tensor]
"""For each row of a batch another one, by index, and how far its code is moved."""

_FARTHEST = 0.3  # in units of the difference of two codes


class AutoencoderProgram(Program):
    """Reconstruct clean rows from rows with noise, through a narrow layer.

    `augment` changes rows before anything else, so a changed row is its own target.
    Minimises ``loss(D(E(x + noise)), x) + latent_penalty * mean(E(x + noise)^2) +
    decoder_penalty * sum(w^2)``, where w are the weights of the decoder, biases left
    out. The last term is no part of what `validate` returns, which is of rows.

    A `constraint` holds decoded rows: reconstructions, and as many rows decoded from
    codes beside those of the batch, since what is to keep it are rows decoded from new
    codes. Of digits, 8 components and a tolerance of 5 %, those from a mixture of
    Gaussians were beyond epsilon in 7 % of draws, with reconstructions alone in 15 %.
    Codes beside move the decoder alone, or the encoder would draw all codes together.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        *,
        noise: float = 0.0,
        latent_penalty: float = 0.0,
        decoder_penalty: float = 0.0,
        prepare: Callable[[Tensor], Tensor] | None = None,
        augment: Augment | None = None,
        half: bool = False,
        foreign: bool = False,
        constraint: DistanceConstraint | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.optimizer = optimizer
        self.loss = loss
        self.noise = noise
        self.latent_penalty = latent_penalty
        self.decoder_penalty = decoder_penalty
        self.prepare = prepare
        self.augment = augment
        self.half = half
        self.foreign = foreign
        self.modules = {"encoder": encoder, "decoder": decoder}
        self.optimizers = {"optimizer": optimizer}
        self.constraint = constraint
        if constraint is not None:
            self.modules["constraint"] = constraint.multipliers
            self.figures = constraint.figures
        self._bound: torch.Generator | None = None
        self._explicit = self._written_out()

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one gradient step on a batch of rows."""
        if self._bound is not generator:
            self._bind(generator)
        (x,) = batch
        if self.prepare is not None:
            x = self.prepare(x)
        if self.augment is not None:
            x = self.augment(x, generator)
        seen = x
        if self.noise:
            draw = torch.empty_like(x).normal_(generator=generator)
            seen = x + self.noise * draw
        backward = self._backward if self._explicit is None else self._backward_explicit
        jitter = None if self.constraint is None else _jitter(x, generator)
        loss, figures = backward(seen, x, jitter)
        if self.decoder_penalty:
            loss = loss + self._penalize_decoder()
        self.optimizer.step()
        return {"loss": loss, **figures}

    def _backward(
        self, seen: Tensor, x: Tensor, jitter: Jitter | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and figures, the gradients left in the parameters."""
        held: Tensor | float = 0.0
        figures: dict[str, Tensor] = {}
        with self._autocast(x):
            z = self.encoder(seen)
            output = self.decoder(_with_codes_beside(z, jitter))
            loss = self.loss(output[: len(x)], x)
            if self.latent_penalty:
                loss = loss + self.latent_penalty * z.square().mean()
        if self.constraint is not None:
            held, figures = self.constraint.loss(output.float())
        self.optimizer.zero_grad(set_to_none=False)
        (loss + held).backward()
        return loss.detach(), figures

    def _backward_explicit(
        self, seen: Tensor, x: Tensor, jitter: Jitter | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Do the same without autograd."""
        assert self._explicit is not None
        encoder, decoder, loss_and_slope = self._explicit
        z, encoder_trace = encoder.forward(seen)
        output, decoder_trace = decoder.forward(_with_codes_beside(z, jitter))
        loss, slope = loss_and_slope(output[: len(x)], x)
        figures: dict[str, Tensor] = {}
        if self.constraint is not None:
            held, figures = self.constraint.slope(output)
            held[: len(x)] += slope
            slope = held
        slope = decoder.backward(slope, decoder_trace, to_input=True)[: len(x)]
        if self.latent_penalty:
            loss = loss + self.latent_penalty * z.square().mean()
            slope = slope + z * (2.0 * self.latent_penalty / z.numel())
        encoder.backward(slope, encoder_trace, to_input=False)
        return loss, figures

    @torch.no_grad()
    def _penalize_decoder(self) -> Tensor:
        """Return the penalty of the decoder, its slope added to the gradients."""
        weights: list[Tensor] = [
            w for w in self.decoder.parameters() if w.ndim > 1 and w.requires_grad
        ]
        slopes = [cast(Tensor, w.grad) for w in weights]
        torch._foreach_add_(slopes, weights, alpha=2.0 * self.decoder_penalty)
        squares = torch.stack(torch._foreach_norm(weights)).square().sum()
        return self.decoder_penalty * squares

    def _written_out(self) -> Explicit | None:
        """Return the explicit passes where perceptrons and loss have them."""
        networks = (self.encoder, self.decoder)
        # by identity: a callable of the user's may be equal to others, or unhashable
        known = [both for loss, both in LOSS_AND_SLOPE.items() if loss is self.loss]
        if self.half or not known:
            return None
        if not all(type(part) is MLP and not part.dropout.p for part in networks):
            return None
        if any(p.grad is None for part in networks for p in part.parameters()):
            return None
        passes = [ExplicitPasses(cast(MLP, part)) for part in networks]
        return passes[0], passes[1], known[0]

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the mean loss of clean rows, and how the constraint is kept."""
        self._set_training(False)
        total = torch.zeros((), device=rows[0].device)
        squared = []
        with torch.no_grad():
            for x in rows[0].split(1024):
                if self.prepare is not None:
                    x = self.prepare(x)
                z = self.encoder(x)
                jitter = None if self.constraint is None else _even_jitter(z)
                output = self.decoder(_with_codes_beside(z, jitter))
                loss = self.loss(output[: len(x)], x)
                loss = loss + self.latent_penalty * z.square().mean()
                total += loss * (len(x) / len(rows[0]))
                if self.constraint is not None:
                    squared.append(self.constraint.squared(output))
        self._set_training(True)
        if self.constraint is None:
            return {"loss": total}
        found = self.constraint.broken_by(torch.cat(squared))
        self.constraint.look_back(found)
        return {"loss": total, **found}

    def _bind(self, generator: torch.Generator) -> None:
        for module in self.modules.values():
            bind_generator(module, generator)
        self._set_training(True)
        self._bound = generator

    def _set_training(self, mode: bool) -> None:
        self.encoder.train(mode)
        self.decoder.train(mode)

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if not self.half:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=torch.bfloat16)


def _jitter(x: Tensor, generator: torch.Generator) -> Jitter:
    """Draw, for each row of a batch, another one and how far codes are moved."""
    other = torch.randperm(len(x), generator=generator, device=x.device)
    share = torch.rand(len(x), 1, generator=generator, device=x.device)
    return other, _FARTHEST * share


def _even_jitter(z: Tensor) -> Jitter:
    """Return the row at the other end, and moves of all sizes, without a draw."""
    places = torch.arange(len(z), device=z.device)
    return places.flip(0), _FARTHEST * (places[:, None] + 0.5) / len(z)


def _with_codes_beside(z: Tensor, jitter: Jitter | None) -> Tensor:
    """Return codes and, behind them, as many beside them, without slopes.

    A code moves along the difference of two others, so that jitter has the spread and
    the directions of codes.
    """
    if jitter is None:
        return z
    other, share = jitter
    codes = z.detach()
    way = codes[other] - codes[other.roll(1)]
    return torch.cat([z, codes + share.to(codes.dtype) * way])
