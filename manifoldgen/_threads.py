"""Blocks of rows on several threads, each with a BLAS of its own."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

_WIDE = 512  # columns from which BLAS itself keeps all cores busy

# The number of BLAS threads belongs to the process: two who lower and restore it at
# once would leave it low.
_BLAS_LIMIT = Lock()

Result = TypeVar("Result")


def map_on_threads(
    function: Callable[[int], Result], starts: range, n_features: int
) -> Iterator[Result]:
    """Map in order, on as many threads as BLAS may use, each with a BLAS of its own."""
    with narrow_blas(n_features) as width:
        if len(starts) < 2 or width < 2:
            yield from map(function, starts)
            return
        with ThreadPoolExecutor(width) as pool:
            # No more than one waits for a thread, to hold few results at once.
            ahead: deque[Future[Result]] = deque()
            for start in starts:
                if len(ahead) > width:
                    yield ahead.popleft().result()
                ahead.append(pool.submit(function, start))
            while ahead:
                yield ahead.popleft().result()


@contextmanager
def narrow_blas(n_features: int) -> Iterator[int]:
    """Keep BLAS to the calling thread where matrices are narrow.

    Their products are too small to be shared out, and where others want the cores the
    threads of BLAS wait for each other for longer than they work. Yields how many
    threads the caller may use in its place.
    """
    if n_features >= _WIDE:
        yield 1
        return
    with _BLAS_LIMIT:
        blas = _blas()
        width = max((library["num_threads"] for library in blas.info()), default=1)
        with blas.limit(limits=1):
            yield width


@cache
def _blas() -> Any:
    return ThreadpoolController().select(user_api="blas")
