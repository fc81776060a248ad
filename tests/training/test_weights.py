"""Snapshots, running averages, row samplers and histories by hand."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from manifoldgen.training import History, RowSampler, RunningAverage, Snapshot


def test_a_snapshot_is_a_copy_that_can_be_put_back():
    network = nn.BatchNorm1d(2)
    network(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)))
    snapshot = Snapshot(network.state_dict().values())
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network(3 + torch.randn(5, 2, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        network.weight.fill_(7.0)
    snapshot.restore()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    # what is restored is not the buffer itself
    with torch.no_grad():
        network.weight.fill_(9.0)
    snapshot.restore()
    assert torch.equal(network.weight, before["weight"])


def test_a_snapshot_is_overwritten_in_place():
    tensor = torch.zeros(3)
    snapshot = Snapshot([tensor])
    (buffer,) = snapshot.copies
    tensor += 1
    assert not buffer.any()
    snapshot.store()
    assert snapshot.copies[0] is buffer
    assert torch.equal(buffer, torch.ones(3))
    snapshot.load([torch.full((3,), 5.0)])
    snapshot.restore()
    assert torch.equal(tensor, torch.full((3,), 5.0))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_running_average_by_hand(decay):
    live, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        live.weight.fill_(0.0)
        average.weight.fill_(100.0)
    running = RunningAverage(live, average, decay)
    by_hand = 100.0
    for n in range(1, 31):
        with torch.no_grad():
            live.weight.fill_(float(n))
        running.update()
        past = min(decay, n / (n + 10))
        by_hand = past * by_hand + (1 - past) * n
        assert float(average.weight.detach()) == pytest.approx(by_hand, rel=1e-5)
    assert running.n_updates == 30
    assert float(live.weight.detach()) == 30.0


def test_the_running_average_of_no_weights():
    # the likelihood of 0 and 1, say, learns nothing
    running = RunningAverage(nn.Identity(), nn.Identity(), 0.9)
    running.update()
    assert running.n_updates == 1


@pytest.mark.parametrize(("n", "batch"), [(1, 1), (10, 4), (10, 5), (7, 100), (5, 1)])
def test_an_epoch_is_a_permutation_in_batches(n, batch):
    sampler = RowSampler(n, batch)
    batches = list(sampler.epoch(torch.Generator().manual_seed(0)))
    size = min(n, batch)
    assert sampler.batch_size == size
    assert [len(index) for index in batches[:-1]] == [size] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= size
    assert sorted(torch.cat(batches).tolist()) == list(range(n))


def test_epochs_differ_and_follow_the_generator():
    def epochs(seed):
        generator = torch.Generator().manual_seed(seed)
        sampler = RowSampler(20, 6)
        return [torch.cat(list(sampler.epoch(generator))).tolist() for _ in range(3)]

    first, second, third = epochs(0)
    assert first != second != third
    assert epochs(0) == [first, second, third]
    assert epochs(1)[0] != first


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_batch_sizes_of_numpy(kind):
    sampler = RowSampler(10, kind(4))
    sizes = [len(i) for i in sampler.epoch(torch.Generator().manual_seed(0))]
    assert sizes == [4, 4, 2]


def test_every_order_is_as_likely():
    generator = torch.Generator().manual_seed(0)
    sampler = RowSampler(3, 3)
    n, counts = 3000, {}
    for _ in range(n):
        (order,) = sampler.epoch(generator)
        key = tuple(order.tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 6
    # each count is binomial: 500 +- 20.4; 4.5 sigma
    assert max(abs(count - n / 6) for count in counts.values()) < 92


def test_a_history_is_a_mapping_of_columns():
    history = History([{"epoch": 1, "loss": 2}])
    history.append({"epoch": 2, "loss": np.float32(1.0), "validation_loss": 3})
    assert len(history) == 3
    assert dict(history).keys() == {"epoch", "loss", "validation_loss"}
    np.testing.assert_array_equal(history["loss"], [2.0, 1.0])
    np.testing.assert_array_equal(history["validation_loss"], [np.nan, 3.0])
    with pytest.raises(KeyError):
        history["none"]
    assert "none" not in history
    again = pickle.loads(pickle.dumps(history))
    assert again.rows == history.rows
    assert "2 epochs" in repr(history)


def test_a_history_keeps_its_own_rows():
    row = {"loss": 1.0}
    history = History([row])
    row["loss"] = 9.0
    assert history["loss"][0] == 1.0


@pytest.mark.parametrize(
    ("n", "batch", "sizes"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (5, 4, [5]), (8, 4, [4, 4]), (1, 4, [1])],
)
def test_a_last_batch_below_the_least_joins_the_one_before(n, batch, sizes):
    batches = list(RowSampler(n, batch, 2).epoch(torch.Generator().manual_seed(0)))
    assert [len(index) for index in batches] == sizes
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
