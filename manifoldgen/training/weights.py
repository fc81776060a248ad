"""Copies of weights in fixed buffers: snapshots and running averages."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Snapshot:
    """A copy of tensors that is overwritten in place."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._live = [tensor.detach() for tensor in tensors]
        self.copies = [tensor.clone() for tensor in self._live]

    @torch.no_grad()
    def store(self) -> None:
        """Copy the live tensors."""
        torch._foreach_copy_(self.copies, self._live)

    @torch.no_grad()
    def restore(self) -> None:
        """Write the copies back into the live tensors."""
        torch._foreach_copy_(self._live, self.copies)

    @torch.no_grad()
    def load(self, copies: list[Tensor]) -> None:
        """Replace the copies by others of the same shapes."""
        for mine, other in zip(self.copies, copies, strict=True):
            mine.copy_(other)


class RunningAverage:
    """An exponential average of a module's parameters, kept in another module.

    The weight of the past grows from 0 to `decay`, as ``min(decay, n / (n + 10))`` at
    the n-th update, so that the average is never dominated by the first weights.

    Parameters
    ----------
    live, average : torch.nn.Module
        The module that is trained, and one of the same shapes that holds the average.
        They may have no parameters, and then there is nothing to average.
    decay : float
        Weight of the past in the long run, in [0, 1).
    """

    def __init__(
        self, live: torch.nn.Module, average: torch.nn.Module, decay: float
    ) -> None:
        self._live = [p.detach() for p in live.parameters()]
        self._average = [p.detach() for p in average.parameters()]
        self.decay = decay
        self.n_updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the live weights."""
        self.n_updates += 1
        decay = min(self.decay, self.n_updates / (self.n_updates + 10))
        if self._live:  # torch refuses an empty list
            torch._foreach_lerp_(self._average, self._live, 1.0 - decay)
