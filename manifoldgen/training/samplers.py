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
    """Every row once an epoch, in random order.

    The last batch may be smaller; below `least` it joins the one before.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    batch_size : int
        Rows in a batch, at most.
    least : int, default=1
        Rows in the last batch, at least: batch normalisation has no variance of one.
    """

    def __init__(self, n_rows: int, batch_size: int, least: int = 1) -> None:
        self.n_rows = n_rows
        self.least = least
        # torch splits by a plain int only, not by one of numpy
        self.batch_size = int(min(batch_size, n_rows))

    def epoch(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the index tensors of one epoch, drawn from `generator`."""
        order = torch.randperm(
            self.n_rows, generator=generator, device=generator.device
        )
        batches = list(order.split(self.batch_size))
        if len(batches) > 1 and len(batches[-1]) < self.least:
            batches[-2:] = [torch.cat(batches[-2:])]
        yield from batches
