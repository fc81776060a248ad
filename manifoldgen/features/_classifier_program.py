"""What a classifier of images is to the engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import bind_generator
from ..training import Batch, Program

_VALIDATION_ROWS = 512


class ClassifierProgram(Program):
    """Minimise the cross-entropy of classes, in nats.

    Parameters
    ----------
    network, head : torch.nn.Module
        Images to features, and features to one logit a class.
    optimizer : torch.optim.Optimizer
        Of the parameters of both.
    shares : callable
        Rows of a batch to images in shares of the range.
    normalize : callable
        These to images as `network` takes them.
    change : callable, default=None
        Changes images in shares at random, for training.
    label_smoothing : float, default=0.0
        Share of the target that is spread over all classes, in training.
    half : bool, default=False
        Compute in bfloat16 where that is safe.
    """

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        shares: Callable[[Tensor], Tensor],
        normalize: Callable[[Tensor], Tensor],
        change: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        label_smoothing: float = 0.0,
        half: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.optimizer = optimizer
        self.shares, self.normalize, self.change = shares, normalize, change
        self.label_smoothing = label_smoothing
        self.half = half
        self.modules = {"network": network, "head": head}
        self.optimizers = {"optimizer": optimizer}
        self._bound: torch.Generator | None = None

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one gradient step on a batch of rows and their classes."""
        if self._bound is not generator:
            bind_generator(self.network, generator)
            self._bound = generator
            self.network.train()
        rows, classes = batch
        images = self.shares(rows)
        if self.change is not None:
            images = self.change(images, generator)
        with self._autocast(rows):
            logits = self.head(self.network(self.normalize(images)))
        loss = F.cross_entropy(
            logits.float(), classes, label_smoothing=self.label_smoothing
        )
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the accuracy of rows that are not changed."""
        self.network.eval()
        n_rows = len(rows[0])
        nats = torch.zeros((), device=rows[0].device)
        right = torch.zeros((), device=rows[0].device)
        with torch.no_grad():
            for x, classes in zip(
                *(part.split(_VALIDATION_ROWS) for part in rows), strict=True
            ):
                logits = self.head(self.network(self.normalize(self.shares(x))))
                nats += F.cross_entropy(logits, classes, reduction="sum")
                right += (logits.argmax(1) == classes).sum()
        self.network.train()
        return {"loss": nats / n_rows, "accuracy": right / n_rows}

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if not self.half:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=torch.bfloat16)
