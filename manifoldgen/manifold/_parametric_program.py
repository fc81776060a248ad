"""What an encoder and a decoder of a map are to the engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..nn import LandmarkEncoder, bind_generator
from ..nn.losses import mean_distance, soft_cross_entropy
from ..training import Batch, Program
from ._autoencoder_program import Augment, Loss

Anchor = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From an encoder, rows and given places to the encoder's places and the loss."""


def place_anchor(encoder: nn.Module, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """Return places and their mean distance from the given ones."""
    z = encoder(x)
    return z, mean_distance(z, given)


def landmark_anchor(
    encoder: nn.Module, x: Tensor, given: Tensor
) -> tuple[Tensor, Tensor]:
    """Return places and the cross-entropy of the probabilities of landmarks."""
    assert isinstance(encoder, LandmarkEncoder)
    logits = encoder.logits(x)
    return encoder.place(logits), soft_cross_entropy(logits, encoder.affinities(given))


class ParametricProgram(Program):
    r"""Learn a map X -> Z and its way back by up to three weighted terms.

    .. math:: w_a \, \mathrm{anchor}(E(x), z) + w_n \, \mathrm{neighbourhood}(E(x),
              E(x')) + \ell(D(E(x)), x)

    *Anchor* keeps rows near given coordinates z (`place_anchor`, `landmark_anchor`).
    *Neighbourhood* pulls neighbours
    x, x' together and pushes others apart. The share `reconstruction_weight` of the
    gradient of the *reconstruction* reaches the encoder; the decoder always learns.

    A batch is rows; with `anchor` also the given coordinates, NaN where a row has none,
    which the decoder learns from where there is no encoder; with `neighborhood` its
    first half are rows and its second half neighbours of these.
    `augment` changes what the encoder sees of each row, before the noise. Coordinates
    are those of the unchanged rows, so an encoder that learns them cannot tell the
    decoder what was changed, and changed rows as targets would only blur it.
    Coordinates are in units in which the map has a spread of about 1.

    Parameters
    ----------
    encoder : torch.nn.Module or None
        None takes the given coordinates for what it would return.
    decoder : torch.nn.Module
    optimizer : torch.optim.Optimizer
        Of both.
    loss : callable
        Reconstruction loss of output and target.
    anchor_weight, neighbor_weight, reconstruction_weight : float
    anchor : callable, default=None
        The term of given coordinates; None where a batch brings none.
    neighborhood : callable, default=None
        Loss of two tensors, whose rows are neighbours.
    noise : float, default=0.0
        Standard deviation of the noise added to rows that the encoder learns from.
    latent_noise : float, default=0.0
        Standard deviation of the noise added to what the decoder learns from.
    prepare : callable, default=None
        From rows as they are stored to the units of the networks.
    augment : callable, default=None
        Changes rows, in these units, at random; without an encoder nothing is changed.
    changed_target : bool, default=False
        Let the decoder return a row as `augment` changed it, for an encoder that keeps
        what it sees, in place of the row as it is.
    half : bool, default=False
        Train in bfloat16 mixed precision.
    foreign : bool, default=False
        Whether code that is not ours runs in a step.
    """

    def __init__(
        self,
        encoder: nn.Module | None,
        decoder: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        *,
        anchor_weight: float,
        neighbor_weight: float,
        reconstruction_weight: float,
        anchor: Anchor | None = None,
        neighborhood: Loss | None = None,
        noise: float = 0.0,
        latent_noise: float = 0.0,
        prepare: Callable[[Tensor], Tensor] | None = None,
        augment: Augment | None = None,
        changed_target: bool = False,
        half: bool = False,
        foreign: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.optimizer = optimizer
        self.loss = loss
        self.anchor_weight = anchor_weight
        self.neighbor_weight = neighbor_weight
        self.reconstruction_weight = reconstruction_weight
        self.anchor = anchor
        self.neighborhood = neighborhood
        self.noise = noise
        self.latent_noise = latent_noise
        self.prepare = prepare
        self.augment, self.changed_target = augment, changed_target
        self.half = half
        self.foreign = foreign
        self.modules = {"decoder": decoder}
        if encoder is not None:
            self.modules = {"encoder": encoder, **self.modules}
        self.optimizers = {"optimizer": optimizer}
        self._bound: torch.Generator | None = None

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one gradient step on a batch of rows."""
        if self._bound is not generator:
            self._bind(generator)
        x = batch[0] if self.prepare is None else self.prepare(batch[0])
        seen, target = self._seen(x, generator)
        with self._autocast(x):
            losses = self._losses(seen, target, batch[1:], generator)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=False)
        total.backward()
        self.optimizer.step()
        return {"loss": total.detach(), **{k: v.detach() for k, v in losses.items()}}

    def _seen(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what the encoder sees of rows, and what the decoder is to return."""
        seen = target = x
        if self.encoder is None:
            return seen, target
        if self.augment is not None:
            seen = self.augment(x, generator)
            target = seen if self.changed_target else x
        if self.noise:
            draw = torch.empty_like(x).normal_(generator=generator)
            seen = seen + self.noise * draw
        return seen, target

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the loss of clean rows, without the term of neighbours."""
        self._set_training(False)
        total = torch.zeros((), device=rows[0].device)
        with torch.no_grad():
            for part in zip(*(tensor.split(1024) for tensor in rows), strict=True):
                x = part[0] if self.prepare is None else self.prepare(part[0])
                losses = self._losses(x, x, part[1:], None)
                share = len(x) / len(rows[0])
                total += torch.stack(list(losses.values())).sum() * share
        self._set_training(True)
        return {"loss": total}

    def _losses(
        self,
        seen: Tensor,
        x: Tensor,
        given: tuple[Tensor, ...],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Return the weighted terms; without a generator, those of validation."""
        losses = {}
        if self.encoder is None:
            z = given[0]
        else:
            if self.anchor is None:
                z = self.encoder(seen)
            else:
                z, anchor = self.anchor(self.encoder, seen, given[0])
                losses["anchor"] = self.anchor_weight * anchor
            if self.neighborhood is not None and generator is not None:
                with torch.autocast(x.device.type, enabled=False):
                    term = self.neighborhood(*z.float().chunk(2))
                losses["neighborhood"] = self.neighbor_weight * term
                z, x = z[: len(z) // 2], x[: len(x) // 2]
        # all of the value, and the share of the gradient
        z = z.detach() + self.reconstruction_weight * (z - z.detach())
        if self.latent_noise and generator is not None:
            z = z + self.latent_noise * torch.empty_like(z).normal_(generator=generator)
        losses["reconstruction"] = self.loss(self.decoder(z), x)
        return losses

    def _bind(self, generator: torch.Generator) -> None:
        for module in self.modules.values():
            bind_generator(module, generator)
        self._set_training(True)
        self._bound = generator

    def _set_training(self, mode: bool) -> None:
        for module in self.modules.values():
            module.train(mode)

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if not self.half:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=torch.bfloat16)
