"""Samplers: which rows make a batch, as index tensors on the device."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class Sampler(Protocol):
    """What the engine asks of a sampler."""

    batch_size: int

    def epoch(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the index tensors of one epoch, drawn from `generator`."""
        ...


class RowSampler:
    """Every row once an epoch, in random order; the last batch may be smaller.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    batch_size : int
        Rows in a batch, at most.
    """

    def __init__(self, n_rows: int, batch_size: int) -> None:
        self.n_rows = n_rows
        # torch splits by a plain int only, not by one of numpy
        self.batch_size = int(min(batch_size, n_rows))

    def epoch(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the index tensors of one epoch, drawn from `generator`."""
        order = torch.randperm(
            self.n_rows, generator=generator, device=generator.device
        )
        yield from order.split(self.batch_size)
