"""What augmentation brings a small network that learns from 500 labelled digits.

Five draws of 50 digits a class from the first 40,000 training images of MNIST; the
network of `_extractors.py` is trained by the same number of steps on each, on the
digits as they are, on what `moved` of the extractors makes of every batch, and on what
`manifoldgen.nn.augment` does. Another contestant trains on the digits and on copies
that `ImageAugmenter.augment` has made once. `--tune` prints the accuracy of other
strengths on the last 10,000 training images, where those below were chosen; the figures
are of the 10,000 test images.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from _extractors import (
    RECIPE,
    Classifier,
    Extractor,
    Labels,
    Rows,
    Splits,
    accuracy,
    mnist_splits,
    moved,
)
from _timing import table, write, write_text
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from manifoldgen import ImageAugmenter
from manifoldgen.nn import augment

Change = Callable[[Tensor, torch.Generator], Tensor]
DRAWS = range(5)
N_PER_CLASS, N_STEPS, BATCH_SIZE = 50, 300, 64
OPERATIONS = {"rotate": 15.0, "scale": 0.2, "shift": 0.08}
TRIED: dict[str, Mapping[str, float]] = {
    "weaker": {"rotate": 8.0, "scale": 0.1, "shift": 0.04},
    "chosen": OPERATIONS,
    "stronger": {"rotate": 20.0, "scale": 0.3, "shift": 0.12},
    "with crops": {**OPERATIONS, "crop": 0.15},
}
N_COPIES = 9


def digits_of(splits: Splits, draw: int) -> tuple[Rows, Labels]:
    """Return as many digits of each class, drawn at random."""
    rng = np.random.default_rng(draw)
    places = [
        rng.choice(np.flatnonzero(splits.y == digit), N_PER_CLASS, replace=False)
        for digit in range(10)
    ]
    chosen = np.concatenate(places)
    return splits.X[chosen], splits.y[chosen]


def train(X: Rows, y: Labels, seed: int, change: Change | None) -> Extractor:
    """Return a classifier after `N_STEPS` steps, whatever it is trained on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(RECIPE["channels"], RECIPE["width"])
    network = network.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(X).reshape(-1, 1, 28, 28), torch.from_numpy(y)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RECIPE["peak_learning_rate"], total_steps=N_STEPS
    )
    batches: list[Tensor] = []
    for _ in range(N_STEPS):
        if not batches:
            order = torch.randperm(len(images), generator=generator)
            batches = list(order.split(BATCH_SIZE))
        batch = batches.pop()
        inputs = images[batch]
        if change is not None:
            inputs = change(inputs, generator).clamp(0.0, 1.0)
        logits = network(inputs.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Extractor(network)


def augmented_by(operations: Mapping[str, float]) -> Change:
    return lambda images, generator: augment(images, operations, generator)


def with_copies(X: Rows, y: Labels, seed: int) -> tuple[Rows, Labels]:
    """Return the digits and changed copies of them."""
    augmenter = ImageAugmenter(
        OPERATIONS, image_shape=(1, 28, 28), value_range=(0.0, 1.0), device="cpu"
    )
    copies, labels = augmenter.fit(X).augment(X, y, N_COPIES, random_state=seed)
    return np.concatenate([X, copies]), np.concatenate([y, labels])


def contestants(X: Rows, y: Labels, seed: int) -> dict[str, Callable[[], Extractor]]:
    return {
        "none": lambda: train(X, y, seed, None),
        "moved": lambda: train(X, y, seed, moved),
        "augment": lambda: train(X, y, seed, augmented_by(OPERATIONS)),
        "copies": lambda: train(*with_copies(X, y, seed), seed, None),
    }


def gain(ours: list[float], other: list[float]) -> dict[str, float]:
    """Return the mean difference of pairs, in points, and its 95% interval."""
    points = 100 * np.subtract(ours, other)
    half = stats.t.ppf(0.975, len(points) - 1) * stats.sem(points)
    mean = float(points.mean())
    return {"mean": mean, "lower": mean - float(half), "upper": mean + float(half)}


def measure(splits: Splits) -> dict[str, Any]:
    found: dict[str, list[float]] = {}
    for draw in DRAWS:
        for name, run in contestants(*digits_of(splits, draw), draw).items():
            share = accuracy(run(), splits.X_test, splits.y_test)
            found.setdefault(name, []).append(share)
            print(f"draw {draw}, {name}: test accuracy {share:.4f}", flush=True)
    gains = {name: gain(found[name], found["none"]) for name in found if name != "none"}
    return {
        "accuracy": found,
        "points over none": gains,
        "points of augment over moved": gain(found["augment"], found["moved"]),
        "operations": OPERATIONS,
        "steps": N_STEPS,
        "batch_size": BATCH_SIZE,
        "n_copies": N_COPIES,
    }


def tune(splits: Splits) -> None:
    """Print accuracies on the tuning images, two draws that no figure is taken of."""
    for name, operations in {"none": {}, **TRIED}.items():
        shares = []
        for draw in (100, 101):
            X, y = digits_of(splits, draw)
            network = train(X, y, draw, augmented_by(operations))
            shares.append(accuracy(network, splits.X_tuning, splits.y_tuning))
        print(f"{name}: {np.mean(shares):.4f} {shares} {dict(operations)}", flush=True)


def text_of(results: dict[str, Any]) -> str:
    named = {
        "none": "none",
        "moved": "turned, scaled and shifted by the extractors' `moved`",
        "augment": "`nn.augment`, each batch anew",
        "copies": f"`ImageAugmenter.augment`, {N_COPIES} copies made once",
    }
    rows = []
    for name, shares in results["accuracy"].items():
        over = results["points over none"].get(name)
        shown = over and f"{over['mean']:+.2f} ({over['lower']:+.2f} to "
        rows.append(
            [
                named[name],
                f"{100 * np.mean(shares):.2f}",
                f"{100 * min(shares):.2f} to {100 * max(shares):.2f}",
                shown and f"{shown}{over['upper']:+.2f})",
            ]
        )
    heads = ["augmentation", "accuracy, %", "five draws", "points over none (95%)"]
    return (
        "# 500 labelled digits of MNIST, a small convolutional network\n\n"
        f"{table(heads, rows)}\n\n"
        f"10,000 test images, {N_STEPS} steps of {BATCH_SIZE} digits; intervals by "
        "Student's t over draws, paired.\n"
    )


def main() -> None:
    """Measure and write, or tune."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with mnist.npz")
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    splits = mnist_splits(options.data)
    if options.tune:
        tune(splits)
        return
    results = measure(splits)
    write("augmentation", results)
    write_text("augmentation.md", text_of(results))


if __name__ == "__main__":
    main()
