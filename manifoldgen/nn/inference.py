"""Networks applied to rows so that a row's answer never depends on its batch."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CPU_BLOCK = 64
ACCELERATOR_BLOCK = 8192
_RUN = 16  # blocks that a thread takes at a time


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one CPU thread inside, and as many as before afterwards.

    A thread that calls torch for the first time while another is inside may start with
    one thread, and stay there.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def map_rows(
    function: Callable[[Tensor], Tensor],
    rows: NDArray[Any],
    device: str | torch.device,
    prepare: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    *,
    alone: bool = False,
) -> NDArray[Any]:
    """Apply `function` to `rows` in zero-padded blocks of one size.

    Matrix products of another height may add in another order, and threads may cut a
    block where vectorised loops end and scalar ones begin. Blocks of one height on one
    thread make a row's result the same bits alone, in a batch, at another offset, and
    for any number of threads on the CPU; on a GPU it is the same to rounding.

    Parameters
    ----------
    function : callable
        Maps a tensor of shape (block, n_in) to one of shape (block, n_out).
    rows : ndarray of shape (n, n_in)
    device : str or torch.device
        Where `function` runs.
    prepare : callable, default=None
        Applied to each block of `rows` on the host before it moves to the device.
    alone : bool, default=False
        Let no two threads call `function` at once: a network of the user's may keep
        things between its lines, or draw from the global generators.

    Returns
    -------
    out : ndarray of shape (n, n_out)

    Raises
    ------
    ValueError
        If a result is not finite.
    """
    on_cpu = torch.device(device).type == "cpu"
    block = CPU_BLOCK if on_cpu else ACCELERATOR_BLOCK

    def run_from(start: int) -> list[NDArray[Any]]:
        with torch.inference_mode():
            return [
                _map_block(function, rows[at : at + block], block, device, prepare)
                for at in range(start, min(start + _RUN * block, n_rows), block)
            ]

    n_rows = max(len(rows), 1)
    starts = range(0, n_rows, _RUN * block)
    if on_cpu:
        width = 1 if alone else min(torch.get_num_threads(), len(starts))
        runs = _map_on_threads(run_from, starts, width)
    else:
        runs = [run_from(start) for start in starts]
    out = np.concatenate([part for parts in runs for part in parts])
    if not np.isfinite(out).all():
        raise ValueError(
            "A network overflows on these rows. They lie too far from those of fit; "
            "leave out the rows with the largest values."
        )
    return out


def _map_block(
    function: Callable[[Tensor], Tensor],
    part: NDArray[Any],
    block: int,
    device: str | torch.device,
    prepare: Callable[[NDArray[Any]], NDArray[Any]] | None,
) -> NDArray[Any]:
    """Return the result of at most `block` rows, which zeros make up to as many."""
    count = len(part)
    if prepare is not None:
        part = prepare(part)
    if count < block:
        padding = np.zeros((block - count, part.shape[1]), dtype=part.dtype)
        part = np.concatenate([part, padding])
    result: NDArray[Any] = function(torch.tensor(part, device=device)).cpu().numpy()
    return result[:count]


def _map_on_threads(
    function: Callable[[int], list[NDArray[Any]]], starts: range, width: int
) -> list[list[NDArray[Any]]]:
    """Map in order on `width` threads, in each of which torch uses no other."""
    with one_thread():
        if width < 2:
            return [function(start) for start in starts]
        with ThreadPoolExecutor(width) as pool:
            return list(pool.map(function, starts))
