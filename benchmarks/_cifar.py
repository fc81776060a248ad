"""Feature extractors of the benchmark of CIFAR-10: two small classifiers.

The file has 20,000 training images. Generators get 12,000; the extractors are trained
on 6,000 others, turned and shifted, and 2,000 are for decisions. Their features, 128
wide, are the space in which 5,000 generated images are compared with the 5,000 of the
test. `python benchmarks/_cifar.py` trains what is missing, five minutes a seed on one
idle core, and prints the accuracy on the test images.

Layers pool by the mean, as those of `_extractors.py` do and for its reason. Channels
are normalised over the batch in training, an affine map afterwards: photographs need
five convolutions, which learn little in the time without.
"""

import argparse
import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from _extractors import Extractor, Labels, Rows, Splits, accuracy, kept, recipe_name
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from manifoldgen.datasets import load_cifar10

IMAGE_SHAPE = (3, 32, 32)
SEEDS = (0, 1)
N_GENERATOR, N_EXTRACTOR, N_TUNING = 12_000, 6_000, 2_000
RECIPE: dict[str, Any] = {
    "channels": (32, 64, 64, 128, 128),
    "halved": (1, 0, 1, 0, 1),  # after which convolutions
    "width": 128,
    "pool": "mean",
    "epochs": 40,
    "batch_size": 125,
    "peak_learning_rate": 5e-3,
    "weight_decay": 0.05,
    "pixels": 3,
}
LEAST_ACCURACY = 0.74


@cache
def cifar_splits(data: str | None = None) -> Splits:
    """Return rows in [0, 1] for generators, extractors, decisions and the test."""
    split = load_cifar10(data)
    parts: list[Any] = []
    bounds = np.cumsum([0, N_GENERATOR, N_EXTRACTOR, N_TUNING])
    if len(split.X_train) < bounds[-1]:
        raise SystemExit(f"CIFAR-10 must have {bounds[-1]} training images")
    for start, end in pairwise(bounds):
        rows, labels = split.X_train[start:end], split.y_train[start:end]
        parts += [_unit(rows), labels.astype(np.int64)]
    return Splits(*parts, _unit(split.X_test), split.y_test.astype(np.int64))


class Classifier(nn.Module):
    """Convolutions, a hidden layer whose output is the features, and logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        side = IMAGE_SHAPE[1]
        widths = pairwise((IMAGE_SHAPE[0], *RECIPE["channels"]))
        for (n_in, n_out), halved in zip(widths, RECIPE["halved"], strict=True):
            layers += [
                nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
            if halved:
                layers.append(nn.AvgPool2d(2))
                side //= 2
        n_flat, width = n_out * side**2, RECIPE["width"]
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(n_flat, width), nn.ReLU()
        )
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of pixels in [0, 1]."""
        return self.head(self.body(images))


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images shifted by whole pixels and, half of them, turned left to right."""
    n, most = len(images), RECIPE["pixels"]
    turned = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    padded = F.pad(
        torch.where(turned, images.flip(3), images), (most,) * 4, mode="reflect"
    )
    down, right = torch.randint(0, 2 * most + 1, (2, n, 1), generator=generator)
    row = (down + torch.arange(images.shape[2]))[:, None, :, None]
    column = (right + torch.arange(images.shape[3]))[:, None, None, :]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return padded[torch.arange(n)[:, None, None, None], channel, row, column]


def train(X: Rows, y: Labels, seed: int, epochs: int = RECIPE["epochs"]) -> Classifier:
    """Return a classifier of photographs in evaluation mode; one seed, one result."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier().to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(X).reshape(-1, *IMAGE_SHAPE), torch.from_numpy(y)
    size = RECIPE["batch_size"]
    optimizer = torch.optim.AdamW(
        network.parameters(), weight_decay=RECIPE["weight_decay"], fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RECIPE["peak_learning_rate"], total_steps=epochs * (len(X) // size)
    )
    for _ in range(epochs):
        order = torch.randperm(len(X), generator=generator)
        for batch in order[: len(X) // size * size].split(size):
            inputs = moved(images[batch], generator)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(inputs)
            loss = F.cross_entropy(logits.float(), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def extractor(
    seed: int,
    splits: Callable[[], Splits] = cifar_splits,
    epochs: int = RECIPE["epochs"],
) -> Extractor:
    """Return the extractor of a seed: from the cache, or trained now and kept there."""

    def trained() -> Classifier:
        rows = splits()
        return train(rows.X_extractor, rows.y_extractor, seed, epochs)

    name = f"cifar_{seed}_{recipe_name(RECIPE | {'epochs': epochs})}"
    return Extractor(kept(name, Classifier(), trained), IMAGE_SHAPE)


def _unit(pixels: NDArray[np.uint8]) -> Rows:
    return pixels.astype(np.float32) / 255


def main() -> None:
    """Train what is missing and print accuracies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with cifar10.npz")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    options = parser.parse_args()
    splits = cifar_splits(options.data)
    for seed in options.seeds:
        start = time.process_time()
        found = extractor(seed, lambda: splits)
        seconds = time.process_time() - start
        tuning = accuracy(found, splits.X_tuning, splits.y_tuning)
        share = accuracy(found, splits.X_test, splits.y_test)
        print(
            f"extractor {seed}: accuracy {tuning:.4f} on tuning images, {share:.4f} on "
            f"test images, {seconds:.0f} s of a core",
            flush=True,
        )
        if share < LEAST_ACCURACY:
            raise SystemExit(f"an extractor must reach {LEAST_ACCURACY}, not {share}")


if __name__ == "__main__":
    main()
