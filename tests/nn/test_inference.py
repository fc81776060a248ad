"""Rows through a network in blocks of one size."""

import threading

import numpy as np
import pytest
import torch

from manifoldgen.nn import MLP, map_rows
from manifoldgen.nn.inference import CPU_BLOCK


def test_every_block_has_one_size_and_zeros_behind_the_rows():
    seen = []

    def network(x):
        seen.append(x.clone())
        return 2 * x

    rows = np.arange(1.0, 2 * CPU_BLOCK + 4, dtype=np.float32)[:, None]
    out = map_rows(network, rows, "cpu")
    np.testing.assert_array_equal(out, 2 * rows)
    assert [len(x) for x in seen] == [CPU_BLOCK] * 3
    assert not seen[-1][3:].any()


@pytest.mark.parametrize("n", [1, CPU_BLOCK - 1, CPU_BLOCK, CPU_BLOCK + 1])
def test_as_many_rows_come_out_as_went_in(n):
    rows = np.random.RandomState(0).standard_normal((n, 3)).astype(np.float32)
    out = map_rows(MLP((3, 4, 2)), rows, "cpu")
    assert out.shape == (n, 2)
    assert out.dtype == np.float32


def test_prepare_sees_the_rows_of_a_block_and_no_padding():
    counts = []

    def prepare(part):
        counts.append(len(part))
        return part.astype(np.float32) / 255

    rows = np.full((CPU_BLOCK + 2, 1), 255, dtype=np.uint8)
    out = map_rows(lambda x: x, rows, "cpu", prepare)
    assert counts == [CPU_BLOCK, 2]
    np.testing.assert_array_equal(out, np.ones_like(rows, dtype=np.float32))


def test_no_graph_is_built():
    out = []
    network = MLP((2, 2))
    map_rows(lambda x: out.append(network(x)) or out[-1], np.ones((1, 2), "f4"), "cpu")
    assert not out[0].requires_grad


def test_overflow_is_an_error():
    with pytest.raises(ValueError, match="overflows on these rows"):
        map_rows(lambda x: x * 1e30, np.full((2, 1), 1e30, np.float32), "cpu")


def test_blocks_run_on_one_thread_and_the_number_comes_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    inside = []

    def fail(x):
        inside.append(torch.get_num_threads())
        raise RuntimeError

    try:
        with pytest.raises(RuntimeError):
            map_rows(fail, np.ones((1, 1), np.float32), "cpu")
        assert inside == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_every_calling_thread_gets_the_same_bits():
    # each thread has a count of its own, so each must lower it for itself
    network = MLP((6, 300, 1), "silu", generator=torch.Generator().manual_seed(0))
    rows = np.random.RandomState(0).standard_normal((300, 6)).astype(np.float32)
    whole = map_rows(network, rows, "cpu")
    start = threading.Barrier(3)

    def work(found):
        torch.set_num_threads(3)
        torch.get_num_threads()  # the first call of a thread settles its number
        start.wait(10)
        for i in range(0, 300, 7):
            found.append(map_rows(network, rows[i : i + 1], "cpu")[0])
        found.append(torch.get_num_threads())

    before, results = torch.get_num_threads(), [[], [], []]
    try:
        workers = [threading.Thread(target=work, args=(r,)) for r in results]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        torch.set_num_threads(before)
    for *found, n_threads in results:
        np.testing.assert_array_equal(found, whole[::7])
        assert n_threads == 3


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_many_blocks_come_back_in_order_on_any_number_of_threads(n_threads):
    network = MLP((3, 40, 2), generator=torch.Generator().manual_seed(0))
    rows = np.random.RandomState(0).standard_normal((5000, 3)).astype(np.float32)
    alone = np.concatenate(
        [map_rows(network, rows[at : at + 1], "cpu") for at in (0, 4999)]
    )
    before, seen = torch.get_num_threads(), set()

    def watched(x):
        seen.add(threading.get_ident())
        return network(x)

    torch.set_num_threads(n_threads)
    try:
        found = map_rows(watched, rows, "cpu")
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[[0, -1]], alone)
    np.testing.assert_array_equal(found, map_rows(network, rows, "cpu"))
    assert len(seen) <= n_threads


def test_what_a_thread_raises_comes_out_and_the_number_comes_back():
    def fail(x):
        raise RuntimeError("in a block")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="in a block"):
            map_rows(fail, np.ones((5000, 1), np.float32), "cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_must_be_alone_runs_on_one_thread():
    callers = set()

    def network(x):
        callers.add(threading.get_ident())
        return x

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        rows = np.zeros((100 * CPU_BLOCK, 1), np.float32)
        map_rows(network, rows, "cpu", alone=True)
    finally:
        torch.set_num_threads(before)
    assert callers == {threading.get_ident()}
