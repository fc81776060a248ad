"""What fills three classes of 20 digits best, before two kinds of classifier.

Five draws of MNIST: which three classes have 20 rows and which rows those and the
1,000 of every other class are, out of the first 40,000 training images. A logistic
regression and a small convolutional network, which takes the same number of steps
whatever it is trained on, are fitted on what each method makes of them. Figures are of
balanced accuracy on the 10,000 test images; `--tune` prints those of other settings,
and of draws that no figure is taken of, on the last 10,000 training images, where the
settings below were chosen.

`GenerativeAugmenter` is measured in three ways: its borrowed kernels alone, copies
moved at random alone (``smoothing=0``), and both. No kind of classifier has settings of
its own.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from _extractors import (
    RECIPE,
    Classifier,
    Extractor,
    Labels,
    Rows,
    Splits,
    mnist_splits,
)
from _timing import table, write, write_text
from imblearn.over_sampling import SMOTE, RandomOverSampler
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor
from torch.nn import functional as F

from manifoldgen import GenerativeAugmenter, ImageAugmenter

DRAWS, TUNING_DRAWS = range(5), (100, 101)
N_FEW_CLASSES, N_FEW = 3, 20
CHANNELS, N_STEPS, BATCH_SIZE = (16, 32), 300, 125
MAX_ITER = 60
GROWTH = 2  # all classes grow to so many times the largest one
MOVES = {"rotate": 16.0, "scale": 0.16, "shift": 0.04}
LESS = {"rotate": 12.0, "scale": 0.12, "shift": 0.04}
FURTHER = {"rotate": 12.0, "scale": 0.12, "shift": 0.08}
PEERS = ("nothing", "class_weight", "RandomOverSampler", "SMOTE")
OURS = "GenerativeAugmenter"


class Training(NamedTuple):
    """What a classifier is fitted on."""

    X: Rows
    y: Labels
    weighted: bool = False


Method = Callable[[Rows, Labels, int], Training]


def drawn(splits: Splits, draw: int, majority: int) -> tuple[Rows, Labels]:
    """Return rows of which three classes, drawn at random, have few."""
    rng = np.random.default_rng(draw)
    few = rng.choice(10, N_FEW_CLASSES, replace=False)
    places = [
        rng.choice(
            np.flatnonzero(splits.y == digit),
            N_FEW if digit in few else majority,
            replace=False,
        )
        for digit in range(10)
    ]
    chosen = np.sort(np.concatenate(places))
    return splits.X[chosen], splits.y[chosen]


def all_grown(y: Labels) -> dict[int, int]:
    """Return twice the size of the largest class for every class."""
    labels, counts = np.unique(y, return_counts=True)
    return dict.fromkeys(labels.tolist(), GROWTH * int(counts.max()))


def ours(**parameters: Any) -> Method:
    """Return the augmenter with these parameters, as a method."""

    def fill(X: Rows, y: Labels, seed: int) -> Training:
        settings = {"sampling_strategy": all_grown, "image_shape": (1, 28, 28)}
        augmenter = GenerativeAugmenter(**(settings | parameters), random_state=seed)
        return Training(*augmenter.fit_resample(X, y))

    return fill


def balanced(sampler: type) -> Method:
    """Return a sampler of imbalanced-learn as it is by default, as a method."""
    return lambda X, y, seed: Training(*sampler(random_state=seed).fit_resample(X, y))


def moved_copies(X: Rows, y: Labels, seed: int) -> Training:
    """Return classes filled with copies that `ImageAugmenter` has changed.

    The copies are made of the rows that are there, for of equal rows it makes equal
    ones.
    """
    augmenter = ImageAugmenter(
        MOVES, image_shape=(1, 28, 28), value_range=(0.0, 1.0), device="cpu"
    ).fit(X)
    most = np.bincount(y).max()
    parts, labels = [X], [y]
    for digit, count in enumerate(np.bincount(y).tolist()):
        if count < most:
            n_copies = -(-(most - count) // count)
            mine = X[y == digit]
            copies = augmenter.augment(mine, n_copies=n_copies, random_state=seed)
            parts.append(copies[: most - count])
            labels.append(np.full(most - count, digit))
    return Training(np.concatenate(parts), np.concatenate(labels))


METHODS: dict[str, Method] = {
    "nothing": lambda X, y, seed: Training(X, y),
    "class_weight": lambda X, y, seed: Training(X, y, weighted=True),
    "RandomOverSampler": balanced(RandomOverSampler),
    "SMOTE": balanced(SMOTE),
    "moved copies": moved_copies,
    "kernels alone": ours(),
    "kernels, moved": ours(augment=MOVES),
    OURS: ours(smoothing=0.0, filter=None, augment=MOVES),
}


def regression(training: Training, seed: int) -> LogisticRegression:
    """Return a logistic regression of pixels in [0, 1]."""
    weight = "balanced" if training.weighted else None
    model = LogisticRegression(max_iter=MAX_ITER, class_weight=weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(training.X, training.y)


def network(training: Training, seed: int) -> Extractor:
    """Return a small network after `N_STEPS` steps, whatever it is trained on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Classifier(CHANNELS, RECIPE["width"])
    net = net.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(training.X).reshape(-1, 1, 28, 28)
    labels = torch.from_numpy(training.y)
    weight = None
    if training.weighted:
        shares = np.bincount(training.y) / len(training.y)
        weight = torch.tensor(1 / (len(shares) * shares), dtype=torch.float32)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RECIPE["peak_learning_rate"], total_steps=N_STEPS
    )
    batches: list[Tensor] = []
    for _ in range(N_STEPS):
        if not batches:
            order = torch.randperm(len(images), generator=generator)
            batches = list(order.split(BATCH_SIZE))
        batch = batches.pop()
        inputs = images[batch].contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(net(inputs), labels[batch], weight=weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Extractor(net)


CLASSIFIERS: dict[str, Callable[[Training, int], Any]] = {
    "logistic regression": regression,
    "network": network,
}


def scores(
    method: Method, X: Rows, y: Labels, seed: int, test: tuple[Rows, Labels]
) -> dict[str, float]:
    """Return the balanced accuracy of each classifier on `test`."""
    training = method(X, y, seed)
    return {
        name: float(
            balanced_accuracy_score(test[1], fit(training, seed).predict(test[0]))
        )
        for name, fit in CLASSIFIERS.items()
    }


def gain(ours: list[float], other: list[float]) -> dict[str, float]:
    """Return the mean difference of pairs, in points, and its 95% interval."""
    points = 100 * np.subtract(ours, other)
    half = stats.t.ppf(0.975, len(points) - 1) * stats.sem(points)
    mean = float(points.mean())
    return {"mean": mean, "lower": mean - float(half), "upper": mean + float(half)}


def measure(splits: Splits, majority: int) -> dict[str, Any]:
    """Return balanced accuracies by classifier and method, and gains over peers."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in CLASSIFIERS}
    test = splits.X_test, splits.y_test
    for draw in DRAWS:
        X, y = drawn(splits, draw, majority)
        for name, method in METHODS.items():
            for classifier, score in scores(method, X, y, draw, test).items():
                found[classifier].setdefault(name, []).append(score)
                print(f"draw {draw}, {name}, {classifier}: {score:.4f}", flush=True)
    return {
        "balanced accuracy": found,
        "gains": {name: gains(part) for name, part in found.items()},
        "majority": majority,
        "few": N_FEW,
        "moves": MOVES,
        "steps": N_STEPS,
        "batch_size": BATCH_SIZE,
    }


def gains(found: dict[str, list[float]]) -> dict[str, Any]:
    """Return points of ours over each method, and over the best of the peers."""
    best = max(PEERS, key=lambda name: np.mean(found[name]))
    each = np.max([found[name] for name in PEERS], axis=0).tolist()
    return {
        "over": {
            name: gain(found[OURS], other)
            for name, other in found.items()
            if name != OURS
        },
        "best peer": best,
        "over the best peer of each draw": gain(found[OURS], each),
    }


def tune(splits: Splits, majority: int) -> None:
    """Print balanced accuracies on the tuning images."""
    tried = {
        "chosen": METHODS[OURS],
        "kernels .1, moved": ours(smoothing=0.1, augment=MOVES),
        "kernels .3, moved": ours(smoothing=0.3, augment=MOVES),
        "turned less": ours(smoothing=0.0, filter=None, augment=LESS),
        "shifted further": ours(smoothing=0.0, filter=None, augment=FURTHER),
        "small classes alone": ours(
            smoothing=0.0, filter=None, augment=MOVES, sampling_strategy="auto"
        ),
    }
    test = splits.X_tuning, splits.y_tuning
    for draw in TUNING_DRAWS:
        X, y = drawn(splits, draw, majority)
        for name, method in tried.items():
            shown = scores(method, X, y, draw, test)
            text = ", ".join(f"{key} {score:.4f}" for key, score in shown.items())
            print(f"draw {draw}, {name}: {text}", flush=True)


def text_of(results: dict[str, Any]) -> str:
    """Return tables in markdown."""
    moved, drawn_anew = "copies moved by", "borrowed kernels, all classes grown"
    named = {
        "class_weight": 'class_weight="balanced"',
        "moved copies": f"{moved} `ImageAugmenter`, small classes alone",
        "kernels alone": f"`{OURS}`: {drawn_anew}",
        "kernels, moved": f"`{OURS}(augment=...)`: {drawn_anew}, moved",
        OURS: f"**`{OURS}(smoothing=0, filter=None, augment=...)`**: moved copies",
    }
    parts = [
        "# Three classes of MNIST with 20 rows, the others with "
        f"{results['majority']:,}\n"
    ]
    for classifier, found in results["balanced accuracy"].items():
        part = results["gains"][classifier]
        rows = []
        for name, values in found.items():
            rows.append(
                [
                    named.get(name, name),
                    f"{100 * np.mean(values):.2f}",
                    f"{100 * min(values):.2f} to {100 * max(values):.2f}",
                    part["over"].get(name) and interval(part["over"][name]),
                ]
            )
        heads = ["method", "balanced accuracy, %", "five draws", "ours over it (95%)"]
        each = interval(part["over the best peer of each draw"])
        parts.append(
            f"## {classifier.capitalize()}\n\n{table(heads, rows)}\n\n"
            f"Points over the best peer, {part['best peer']}: "
            f"{interval(part['over'][part['best peer']])}; over the best peer of each "
            f"draw: {each}.\n"
        )
    strengths = ", ".join(f"{key} {value:g}" for key, value in MOVES.items())
    parts.append(
        "Peers are nothing, class_weight, RandomOverSampler and SMOTE with five "
        "neighbours. Ours is the last row, with one setting for both classifiers: all "
        f"classes grow to {GROWTH} times the largest one, by {strengths}. It makes "
        "copies, and what gains is moving them: the same moves of small classes alone "
        "come close, and kernels, which draw rows that are not there, add nothing to "
        "them. 10,000 test images; "
        f"{N_STEPS} steps of {BATCH_SIZE} for every network; intervals by Student's t "
        "over draws, paired.\n"
    )
    return "\n".join(parts)


def interval(found: dict[str, float]) -> str:
    """Return a mean with its interval."""
    return f"{found['mean']:+.2f} ({found['lower']:+.2f} to {found['upper']:+.2f})"


def main() -> None:
    """Measure and write, or tune."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with mnist.npz")
    parser.add_argument("--majority", type=int, default=1000)
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    splits = mnist_splits(options.data)
    if options.tune:
        tune(splits, options.majority)
        return
    results = measure(splits, options.majority)
    write("imbalance", results)
    write_text("imbalance.md", text_of(results))


if __name__ == "__main__":
    main()
