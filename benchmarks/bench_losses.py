"""Losses, optimizers and schedules, and guards against overfitting: what do they bring?

AutoencoderManifold(8) on the 8 x 8 digits of scikit-learn, each setting with the seeds
0, 1, 2, whose medians are written; a seed is also that of the split, 1,297 rows to
train on and 500 held out (200 and 500 in the last table, so that there is something to
fit too well). Pixels are in [0, 1]. Nothing stops early but where a line says so.

- *Losses*, 60 epochs each, all with one_cycle: the mean squared and the mean absolute
  error of held-out rows, their structural similarity, and the sharpness of what comes
  back, the mean squared difference of neighbouring pixels over that of the rows.
- *Optimizers and schedules*: the squared error of held-out rows after 30 and after 150
  epochs. Each optimizer has the learning rate that is best for it of four, with
  one_cycle, after 30 epochs, on the rows of a seed that is not among these. "adamw" is
  "adam" where no weight decays, so it has no lines.
- *Overfitting*: the squared error of the training rows and of held-out ones after 400
  epochs on 200 rows, of which early stopping gives up 40 to know when.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from _timing import table, write, write_text
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from manifoldgen import AutoencoderManifold
from manifoldgen.nn.losses import structural_similarity
from manifoldgen.training import SCHEDULES

Rows = NDArray[np.float32]
SEEDS = (0, 1, 2)
TUNING_SEED = 3
LOSSES = ("mse", "l1", "huber", "bce", "ssim")
RATES = {
    "adam": (1e-3, 2e-3, 5e-3, 1e-2),
    "sgd": (0.03, 0.1, 0.3, 1.0),
    "rmsprop": (3e-4, 1e-3, 2e-3, 5e-3),
}
SHORT, LONG = 30, 150
EARLY = {"validation_fraction": 0.2, "patience": 20}
GUARDS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "weight_decay=1e-4": {"weight_decay": 1e-4},
    "weight_decay=1e-2, adamw": {"weight_decay": 1e-2, "optimizer": "adamw"},
    "weight_decay=1, adamw": {"weight_decay": 1.0, "optimizer": "adamw"},
    "decoder_penalty=1e-5": {"decoder_penalty": 1e-5},
    "dropout=0.1": {"dropout": 0.1},
    "dropout=0.3": {"dropout": 0.3},
    "noise=0.3": {"noise": 0.3},
    "noise=0.6": {"noise": 0.6},
    "early stopping": EARLY,
    "noise=0.6, early stopping": {"noise": 0.6, **EARLY},
}


class Split(NamedTuple):
    train: Rows
    held_out: Rows


def split_of(seed: int, n_train: int = 1297) -> Split:
    X, _ = load_digits(return_X_y=True)
    order = np.random.RandomState(seed).permutation(len(X))
    rows = (X[order] / 16).astype(np.float32)
    return Split(rows[:n_train], rows[-500:])


def fitted(split: Split, seed: int, **options: Any) -> tuple[Any, float]:
    """Return a manifold of the training rows and the seconds of its fit."""
    settings = {"validation_fraction": 0.0, "patience": None, "random_state": seed}
    settings |= {"image_shape": (1, 8, 8), "batch_size": 64}
    manifold = AutoencoderManifold(8, **settings | options)
    start = time.perf_counter()
    manifold.fit(split.train)
    return manifold, time.perf_counter() - start


def squared_error(manifold: Any, rows: Rows) -> float:
    return float(manifold.reconstruction_error(rows).mean())


def energy(rows: Rows) -> float:
    """Return the mean squared difference of neighbouring pixels."""
    images = rows.reshape(-1, 8, 8)
    steps = [np.diff(images, axis=axis) for axis in (1, 2)]
    return float(np.mean([np.square(step).mean() for step in steps]))


def of_loss(loss: str, seed: int) -> dict[str, float]:
    split = split_of(seed)
    options = {"schedule": "one_cycle", "learning_rate": 5e-3, "max_epochs": 60}
    manifold, seconds = fitted(split, seed, loss=loss, **options)
    back = manifold.inverse_transform(manifold.transform(split.held_out))
    images = (
        torch.from_numpy(it).reshape(-1, 1, 8, 8) for it in (back, split.held_out)
    )
    return {
        "squared_error": squared_error(manifold, split.held_out),
        "absolute_error": float(np.abs(back - split.held_out).mean()),
        "similarity": float(structural_similarity(*images).mean()),
        "sharpness": energy(back) / energy(split.held_out),
        "seconds": seconds,
    }


def best_rate(optimizer: str) -> float:
    split = split_of(TUNING_SEED)
    options = {"schedule": "one_cycle", "max_epochs": SHORT, "optimizer": optimizer}
    errors = {
        rate: squared_error(
            fitted(split, TUNING_SEED, learning_rate=rate, **options)[0], split.held_out
        )
        for rate in RATES[optimizer]
    }
    return min(errors, key=errors.__getitem__)


def of_schedule(
    optimizer: str, schedule: str, rate: float, seed: int
) -> dict[str, float]:
    split, found = split_of(seed), {}
    for n_epochs in (SHORT, LONG):
        manifold, seconds = fitted(
            split,
            seed,
            optimizer=optimizer,
            schedule=schedule,
            learning_rate=rate,
            max_epochs=n_epochs,
        )
        found[f"squared_error_{n_epochs}"] = squared_error(manifold, split.held_out)
        found[f"seconds_{n_epochs}"] = seconds
    return found


def of_guard(name: str, seed: int) -> dict[str, float]:
    split = split_of(seed, n_train=200)
    options = {"learning_rate": 2e-3, "max_epochs": 400} | GUARDS[name]
    manifold, seconds = fitted(split, seed, **options)
    return {
        "train_error": squared_error(manifold, split.train),
        "held_out_error": squared_error(manifold, split.held_out),
        "epochs": float(manifold.n_epochs_),
        "seconds": seconds,
    }


def medians(measure: Callable[[int], dict[str, float]]) -> dict[str, float]:
    runs = [measure(seed) for seed in SEEDS]
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def as_text(found: dict[str, Any]) -> str:
    losses = [
        [
            f'`"{name}"`',
            f"{1e3 * it['squared_error']:.2f}",
            f"{1e3 * it['absolute_error']:.1f}",
            f"{it['similarity']:.3f}",
            f"{it['sharpness']:.2f}",
            f"{it['seconds']:.1f}",
        ]
        for name, it in found["losses"].items()
    ]
    schedules = [
        [
            f'`"{optimizer}"`, {found["rates"][optimizer]:g}',
            f'`"{schedule}"`',
            f"{1e3 * it[f'squared_error_{SHORT}']:.2f}",
            f"{1e3 * it[f'squared_error_{LONG}']:.2f}",
            f"{it[f'seconds_{LONG}']:.1f}",
        ]
        for optimizer, by_schedule in found["schedules"].items()
        for schedule, it in by_schedule.items()
    ]
    guards = [
        [
            name,
            f"{1e3 * it['train_error']:.2f}",
            f"{1e3 * it['held_out_error']:.2f}",
            f"{it['epochs']:.0f}",
            f"{it['seconds']:.1f}",
        ]
        for name, it in found["overfitting"].items()
    ]
    error = "squared error x 1000"
    return "\n\n".join(
        [
            "# Losses, optimizers, schedules and overfitting on digits",
            "Medians of three seeds, of rows that no fit saw; pixels in [0, 1].",
            table(
                ["loss", error, "absolute error x 1000", "SSIM", "sharpness", "s"],
                losses,
            ),
            table(
                [
                    "optimizer, learning rate",
                    "schedule",
                    f"{error}, {SHORT} epochs",
                    f"{LONG} epochs",
                    f"s, {LONG} epochs",
                ],
                schedules,
            ),
            table(
                [
                    "200 rows, against overfitting",
                    f"{error}, training rows",
                    "held-out rows",
                    "epochs",
                    "s",
                ],
                guards,
            ),
        ]
    )


def main() -> None:
    """Measure everything on one thread and write it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    rates = {name: best_rate(name) for name in RATES}
    found = {
        "losses": {name: medians(partial(of_loss, name)) for name in LOSSES},
        "rates": rates,
        "schedules": {
            name: {
                schedule: medians(partial(of_schedule, name, schedule, rates[name]))
                for schedule in SCHEDULES
            }
            for name in RATES
        },
        "overfitting": {name: medians(partial(of_guard, name)) for name in GUARDS},
    }
    write("losses", found)
    write_text("losses.md", as_text(found))


if __name__ == "__main__":
    main()
