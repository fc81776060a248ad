"""Local random streams; the global generators are left as they were found."""

import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_GLOBAL_STREAMS = threading.RLock()


def draw_seed(random_state: np.random.RandomState) -> int:
    """Draw a seed for another generator from a numpy one."""
    return int(random_state.randint(np.iinfo(np.int32).max))


def random_state_of(value: Any) -> np.random.RandomState:
    """Return the generator that a `random_state` names.

    None starts a fresh one and, unlike `sklearn.utils.check_random_state`, leaves
    numpy's global generator where it was. An int is a seed; a RandomState is used, and
    so advanced, itself.
    """
    if value is None:
        return np.random.RandomState(np.random.SeedSequence().generate_state(4))
    if isinstance(value, np.random.RandomState):
        return value
    if isinstance(value, Integral) and not isinstance(value, bool):
        if 0 <= int(value) < 2**32:
            return np.random.RandomState(int(value))
    raise ValueError(
        "random_state must be None, an int between 0 and 2**32 - 1 or a "
        f"numpy.random.RandomState, got {value!r}."
    )


def torch_generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator on `device` that starts from `seed`."""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    return generator


def row_streams(rows: NDArray[Any], seed: int) -> Iterator[np.random.Generator]:
    """Yield a generator for each row that the row and `seed` alone determine.

    What is drawn for a row then depends neither on the rows that come with it nor on
    their order; equal rows draw alike. Rows are compared as float32, so the same
    values draw alike in every dtype.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)
    seed : int
        Not negative.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> both = [stream.standard_normal() for stream in row_streams(rows, seed=0)]
    >>> both[1] == next(row_streams(rows[1:], seed=0)).standard_normal()
    True
    """
    salt = int(seed).to_bytes(16, "little")
    for row in rows:
        # adding 0 gives -0.0 and 0.0 the same bytes
        content = (np.asarray(row, dtype=np.float32) + np.float32(0.0)).tobytes()
        digest = hashlib.blake2b(content, digest_size=16, key=salt).digest()
        key = np.frombuffer(digest, dtype=np.uint64)
        yield np.random.Generator(np.random.Philox(key=key))


@contextmanager
def isolated_streams(seed: int) -> Iterator[None]:
    """Run foreign code on global streams that start from `seed`, then restore them.

    A network class of the user's draws its weights, and its dropout, from the global
    generators. They belong to the whole process, so one thread at a time is let in.
    """
    with _GLOBAL_STREAMS:
        python_state: Any = random.getstate()
        numpy_state: Any = np.random.get_state()  # noqa: NPY002
        has_mps = torch.backends.mps.is_available()
        mps_state = torch.mps.get_rng_state() if has_mps else None
        with torch.random.fork_rng(devices=_accelerators()):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            # torch.manual_seed would also seed a CUDA that nobody has started yet
            torch.default_generator.manual_seed(seed)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(seed)
            if mps_state is not None:
                torch.mps.manual_seed(seed)
            try:
                yield
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)  # noqa: NPY002
                if mps_state is not None:
                    torch.mps.set_rng_state(mps_state)


def _accelerators() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
