"""Networks applied to rows so that a row's answer never depends on its batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CPU_BLOCK = 256
ACCELERATOR_BLOCK = 8192


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
    parts = []
    with torch.inference_mode(), one_thread() if on_cpu else nullcontext():
        for start in range(0, max(len(rows), 1), block):
            part = rows[start : start + block]
            count = len(part)
            if prepare is not None:
                part = prepare(part)
            if count < block:
                padding = np.zeros((block - count, part.shape[1]), dtype=part.dtype)
                part = np.concatenate([part, padding])
            result = function(torch.tensor(part, device=device))
            parts.append(result[:count].cpu().numpy())
    out = np.concatenate(parts)
    if not np.isfinite(out).all():
        raise ValueError(
            "A network overflows on these rows. They lie too far from those of fit; "
            "leave out the rows with the largest values."
        )
    return out
