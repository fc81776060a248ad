"""Which rows and which edges make a batch."""

import pytest
import torch

from manifoldgen.training import EdgeSampler, RowSampler

NEIGHBORS = torch.tensor(
    [[(row + step) % 50 for step in (1, 5, 9)] for row in range(50)]
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_row_comes_once_with_one_of_its_neighbours():
    sampler = EdgeSampler(NEIGHBORS, 16)
    assert sampler.batch_size == 32
    heads, tails = [], []
    for batch in sampler.epoch(seeded()):
        half = len(batch) // 2
        heads += batch[:half].tolist()
        tails += batch[half:].tolist()
    assert sorted(heads) == list(range(50))
    assert heads != list(range(50))
    for head, tail in zip(heads, tails, strict=True):
        assert tail in NEIGHBORS[head]


def test_all_neighbours_come_equally_often():
    sampler, counts = EdgeSampler(NEIGHBORS, 50), torch.zeros(3)
    generator = seeded()
    for _ in range(200):
        for batch in sampler.epoch(generator):
            heads, tails = batch.chunk(2)
            counts += (NEIGHBORS[heads] == tails[:, None]).sum(0)
    # 10,000 draws of one in three: three standard deviations are 141
    assert (counts - 10_000 / 3).abs().max() < 141


def test_one_seed_gives_one_order_and_the_next_epoch_another():
    sampler, generator = EdgeSampler(NEIGHBORS, 16), seeded()
    first, again = list(sampler.epoch(generator)), list(sampler.epoch(seeded()))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    second = list(sampler.epoch(generator))
    assert not torch.equal(torch.cat(first), torch.cat(second))


@pytest.mark.parametrize(
    ("n", "batch_size", "least", "sizes"),
    [
        (49, 16, 2, [16, 16, 17]),
        (50, 16, 2, [16, 16, 16, 2]),
        (49, 16, 1, [16, 16, 16, 1]),
        (5, 16, 2, [5]),
        (1, 16, 2, [1]),
    ],
)
def test_a_last_batch_that_is_too_small_joins_the_one_before(
    n, batch_size, least, sizes
):
    table = torch.zeros(n, 1, dtype=torch.int64)
    edges = EdgeSampler(table, batch_size, least).epoch(seeded())
    assert [len(batch) // 2 for batch in edges] == sizes
    rows = RowSampler(n, batch_size, least).epoch(seeded())
    assert [len(batch) for batch in rows] == sizes
