"""Fits that are killed by ``kill -9`` at random moments and started again."""

import subprocess
import sys

import pytest

# One interpreter per test; each try is a process forked from it, so that a try costs
# milliseconds and not the import of torch.
SCRIPT = """
import os, random, signal, sys, time, warnings

import numpy as np
import torch

from manifoldgen import AutoencoderManifold, LatentGAN
from manifoldgen.training import Checkpoint

warnings.simplefilter("ignore")
torch.set_num_threads(1)
folder, kind, n_kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
moments = random.Random(kind)
X = np.random.RandomState(0).standard_normal((200, 6))
y = np.arange(200) % 3


def model(**options):
    if kind == "gan":
        return LatentGAN(
            conditional=True, hidden_sizes=(16, 16), batch_size=32, random_state=3,
            max_epochs=10 * n_kills, **options,
        )
    return AutoencoderManifold(
        2, hidden_sizes=(16,), noise=0.1, dropout=0.2, batch_size=32, random_state=3,
        schedule="cosine", patience=None, max_epochs=20 * n_kills, **options,
    )


def train_until_killed(pipe, often):
    if often:
        Checkpoint.due = lambda self: True
    told = []

    def tell(row):
        os.write(pipe, b"%d\\n" % row["epoch"])
        told.append(row)
        if len(told) > 8:  # a busy machine may be late with the kill
            time.sleep(600)

    model(checkpoint=folder, callbacks=[tell]).fit(X, y)
    os._exit(0)


straight = model().fit(X, y)
starts = []
for attempt in range(n_kills):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        train_until_killed(writer, often=attempt % 2 == 0)
    os.close(writer)
    with os.fdopen(reader) as told:
        starts.append(int(told.readline()))
        for _ in range(moments.randrange(4)):
            told.readline()
        time.sleep(moments.uniform(0.0, 0.01))
        os.kill(child, signal.SIGKILL)
        told.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the fit ended before it was killed"

assert starts == sorted(starts) and starts[-1] > 1, starts
seen = []
resumed = model(checkpoint=folder, callbacks=[lambda row: seen.append(row["epoch"])])
resumed.fit(X, y)
assert seen[0] >= starts[-1], (seen[0], starts)
assert not os.listdir(folder), os.listdir(folder)

for name in straight._networks:
    ours, theirs = (getattr(it, name).state_dict() for it in (resumed, straight))
    for key in theirs:
        assert torch.equal(ours[key], theirs[key]), key
for name in ("loss", "validation_loss"):
    assert np.array_equal(resumed.history_[name], straight.history_[name]), name
assert resumed.best_epoch_ == straight.best_epoch_
print(f"killed {n_kills} times; the first epochs were", *starts, int(seen[0]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kind", ["autoencoder", "gan"])
@pytest.mark.parametrize(
    "n_kills", [5, pytest.param(20, marks=pytest.mark.slow)], ids=["5", "20"]
)
def test_a_killed_fit_ends_as_the_uninterrupted_one(tmp_path, kind, n_kills):
    arguments = [str(tmp_path), kind, str(n_kills)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
