"""Tables of the benchmarks of generators of images: medians over seeds, extractors."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from _timing import table

BASELINE = "AutoencoderManifold(16) + GaussianMixture(50)"
WORST_BASELINE = 0.0095  # mean squared error of its autoencoder on held-out images
REAL = "real images"
FIGURES = ("frechet", "precision", "recall", "density", "coverage")
Runs = dict[str, Any]  # by seed, then by line


class Yardstick(NamedTuple):
    """The line that R is relative to, and the error above which it says nothing."""

    line: str
    worst: float


MNIST = Yardstick(BASELINE, WORST_BASELINE)


def gathered(runs: Runs, line: str, name: str) -> list[float]:
    """Return a figure of a line over seeds and extractors."""
    return [
        found[name]
        for run in runs.values()
        for found in run.get(line, {}).get("extractors", {}).values()
        if name in found
    ]


def ratios(runs: Runs, line: str, yardstick: Yardstick = MNIST) -> list[float]:
    """Return R over seeds and extractors: of those whose baseline is good enough."""
    name, worst = yardstick
    return [
        found["frechet"] / run[name]["extractors"][seed]["frechet"]
        for run in runs.values()
        if run.get(name, {}).get("squared_error", np.inf) <= worst
        for seed, found in run.get(line, {}).get("extractors", {}).items()
    ]


def middle(values: list[float], digits: int) -> str | None:
    """Return a median for a table, with the range where there are several."""
    if not values:
        return None
    low, high = min(values), max(values)
    text = f"{np.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({low:.{digits}f}-{high:.{digits}f})"


def row_of(runs: Runs, line: str, yardstick: Yardstick) -> list[Any]:
    of_line = [run[line] for run in runs.values() if line in run]
    seconds = [sum(it["seconds"].values()) for it in of_line if "seconds" in it]
    shares = np.array(gathered(runs, line, "class_shares"))
    return [
        line,
        middle(seconds, 0),
        middle(ratios(runs, line, yardstick), 3),
        *(
            middle(gathered(runs, line, name), 1 if name == "frechet" else 3)
            for name in FIGURES
        ),
        middle(gathered(runs, line, "reconstruction"), 1),
        middle([it["squared_error"] for it in of_line if "squared_error" in it], 4),
        f"{shares.min():.2f}-{shares.max():.2f}",
        middle(gathered(runs, line, "label_agreement"), 3),
        middle([it["sample_seconds"] for it in of_line if "sample_seconds" in it], 2),
    ]


def as_table(
    runs: Runs, order: Iterable[str], yardstick: Yardstick = MNIST, drawn: int = 10_000
) -> str:
    columns = ["", "fit, s", "R", "Fréchet", *FIGURES[1:]]
    columns += ["Fréchet of reconstructions", "their squared error"]
    columns += ["class shares over real", "label agreement", f"{drawn:,} drawn, s"]
    return table(
        columns, [row_of(runs, line, yardstick) for line in lines_of(runs, order)]
    )


def lines_of(runs: Runs, order: Iterable[str]) -> list[str]:
    """Return the names of lines in the order of contestants, real images first.

    A line is called as its contestant is, with something after it where it has several;
    those of another name come last.
    """
    known = {line: None for run in runs.values() for line in run}
    names = [REAL, *order]

    def place(line: str) -> int:
        starts = [n for n, name in enumerate(names) if line.startswith(name)]
        return max(starts, key=lambda n: len(names[n]), default=len(names))

    return sorted(known, key=place)


def table_of_usefulness(runs: Runs, order: Iterable[str]) -> str:
    rows = []
    for line in lines_of(runs, order):
        of_line = [run for run in runs.values() if "usefulness" in run.get(line, {})]
        row: list[Any] = [line]
        for name in ("logistic_regression", "network"):
            own = [run[line]["usefulness"][name] for run in of_line]
            real = [
                run[line]["usefulness"][name] / run[REAL]["usefulness"][name]
                for run in of_line
                if REAL in run
            ]
            row += [middle(own, 4), middle(real, 3)]
        if of_line:
            rows.append(row)
    columns = ["trained on", "logistic regression", "over real", "network", "over real"]
    return table(columns, rows)
