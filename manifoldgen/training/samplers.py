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


class EdgeSampler:
    """Every row once an epoch, in random order, each with one of its neighbours.

    A batch is the indices of the rows and, behind them, those of as many neighbours.

    Parameters
    ----------
    neighbors : Tensor of shape (n_rows, n_neighbors), int64
        Neighbours of each row, by index, on the device of the generator. A row whose
        neighbours are fewer repeats them.
    batch_size : int
        Rows in a batch, at most, their neighbours not counted.
    least : int, default=2
        Rows in the last batch, at least: one pair has nobody to be kept away from.
    """

    def __init__(self, neighbors: Tensor, batch_size: int, least: int = 2) -> None:
        self.neighbors = neighbors
        self._rows = RowSampler(len(neighbors), batch_size, least)
        self.batch_size = 2 * self._rows.batch_size

    def epoch(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the index tensors of one epoch, drawn from `generator`."""
        width = self.neighbors.shape[1]
        for heads in self._rows.epoch(generator):
            column = torch.randint(
                width, (len(heads), 1), generator=generator, device=generator.device
            )
            tails = self.neighbors[heads].gather(1, column).squeeze(1)
            yield torch.cat([heads, tails])
