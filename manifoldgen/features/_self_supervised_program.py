"""What learning without labels is to the engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import bind_generator
from ..nn.contrastive import nt_xent_loss, vicreg_terms
from ..training import Batch, Program

Losses = dict[str, Tensor]
Views = Callable[[Tensor, torch.Generator], Tensor]

_VALIDATION_ROWS = 512
_VALIDATION_SEED = 0  # one view of the held-out rows, so that epochs compare


class SelfSupervisedProgram(Program):
    """Lower a loss of rows that are changed at random.

    Parameters
    ----------
    network, head : torch.nn.Module
        Images to features, and features to what the loss is taken of.
    optimizer : torch.optim.Optimizer
        Of the parameters of both.
    losses : callable
        Network followed by head, rows of a batch and a generator to scalars, of which
        "loss" is lowered.
    half : bool, default=False
        Compute in bfloat16 where that is safe.
    """

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        optimizer: torch.optim.Optimizer,
        losses: Callable[[nn.Module, Tensor, torch.Generator], Losses],
        half: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.optimizer = optimizer
        self.losses = losses
        self.half = half
        self.modules = {"network": network, "head": head}
        self.optimizers = {"optimizer": optimizer}
        self.least_rows = 2  # of one row there is no other view, and no variance
        self._whole = nn.Sequential(network, head)

    def step(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Take one gradient step on a batch of rows."""
        bind_generator(self._whole, generator)
        self._whole.train()
        with self._autocast(batch[0]):
            losses = self.losses(self._whole, batch[0], generator)
        self.optimizer.zero_grad(set_to_none=False)
        losses["loss"].backward()
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def validate(self, rows: Batch) -> Losses:
        """Return the same losses of rows that are not trained on."""
        self._whole.eval()
        generator = torch.Generator(rows[0].device).manual_seed(_VALIDATION_SEED)
        n_rows = len(rows[0])
        size = _VALIDATION_ROWS if n_rows % _VALIDATION_ROWS != 1 else n_rows
        totals: Losses = {}
        with torch.no_grad():
            for part in rows[0].split(size):
                for name, loss in self.losses(self._whole, part, generator).items():
                    share = loss * (len(part) / n_rows)
                    totals[name] = totals.get(name, 0.0) + share
        return totals

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if not self.half:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=torch.bfloat16)


class VicregLosses:
    """Weighed terms of VICReg of two views.

    Parameters
    ----------
    view : callable
        Rows of a batch and a generator to images as the network takes them.
    weights : tuple of float
        Of invariance, variance and covariance.
    """

    def __init__(self, view: Views, weights: tuple[float, float, float]) -> None:
        self.view = view
        self.weights = weights

    def __call__(
        self, network: nn.Module, rows: Tensor, generator: torch.Generator
    ) -> Losses:
        """Return the loss and its three terms, not weighed."""
        first, second = two_views(self.view, network, rows, generator)
        terms = vicreg_terms(first, second)
        loss = torch.stack(
            [weight * term for weight, term in zip(self.weights, terms, strict=True)]
        ).sum()
        return {"loss": loss, **terms._asdict()}


class SimclrLosses:
    """The normalised cross-entropy of two views."""

    def __init__(self, view: Views, temperature: float) -> None:
        self.view = view
        self.temperature = temperature

    def __call__(
        self, network: nn.Module, rows: Tensor, generator: torch.Generator
    ) -> Losses:
        """Return the loss, in nats."""
        first, second = two_views(self.view, network, rows, generator)
        return {"loss": nt_xent_loss(first, second, self.temperature)}


class TransformationLosses:
    """The cross-entropy of which fixed transformation an image went through.

    Parameters
    ----------
    view : callable
        Rows of a batch and a generator to images in shares of the range.
    transform : callable
        Images and a place in the list of transformations for each, to images.
    normalize : callable
        These to images as the network takes them.
    n_transformations : int
    """

    def __init__(
        self,
        view: Views,
        transform: Callable[[Tensor, Tensor], Tensor],
        normalize: Callable[[Tensor], Tensor],
        n_transformations: int,
    ) -> None:
        self.view = view
        self.transform = transform
        self.normalize = normalize
        self.n_transformations = n_transformations

    def __call__(
        self, network: nn.Module, rows: Tensor, generator: torch.Generator
    ) -> Losses:
        """Return the loss, in nats, and the share of rows named right."""
        images = self.view(rows, generator)
        n, device = len(rows), rows.device
        # each as often as any other, from a random one on
        first = torch.randint(
            self.n_transformations, (1,), generator=generator, device=device
        )
        order = torch.randperm(n, generator=generator, device=device)
        which = (order + first) % self.n_transformations
        logits = network(self.normalize(self.transform(images, which))).float()
        accuracy = (logits.argmax(1) == which).float().mean()
        return {"loss": F.cross_entropy(logits, which), "accuracy": accuracy}


def two_views(
    view: Views, network: nn.Module, rows: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return what `network` makes of two views of the same rows, in one pass."""
    both = torch.cat([view(rows, generator), view(rows, generator)])
    first, second = network(both).float().chunk(2)
    return first, second
