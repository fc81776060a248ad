"""Measures of generated rows against the peers that define them.

Speed: contestants in turn in one run, on Gaussian features whose spread falls from
column to column; scipy's square root of a 2,048 x 2,048 matrix takes a minute or two,
so the Fréchet distance is timed once. Memory: each measure in a process of its own.
"""

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import torch
from _timing import (
    alternate,
    load,
    merge,
    seconds_and_peak,
    speed_against,
    table,
    write_text,
)
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from manifoldgen import (
    frechet_distance,
    kernel_distance,
    membership_auc,
    precision_recall_density_coverage,
    sliced_wasserstein,
)

Rows = NDArray[np.float64]
PARTS = ("frechet", "prdc", "kernel", "memory")
NAMES = {
    "frechet": ("`frechet_distance`", "mean, cov and `scipy.linalg.sqrtm`"),
    "prdc": ("`precision_recall_density_coverage`", "`prdc.compute_prdc`"),
    "kernel": (
        "`kernel_distance`, all pairs in float64",
        "torchmetrics KID, 100 subsets of 1,000 in float32",
    ),
}
# rows and columns, and rounds that are timed after one that is not
SIZES = {
    "frechet": [(10_000, 2048, 1)],
    "prdc": [(10_000, 128, 5)],
    "kernel": [(10_000, 128, 5), (10_000, 2048, 1)],
}
QUICK_SIZES = {
    "frechet": [(1000, 128, 1)],
    "prdc": [(1000, 32, 2)],
    "kernel": [(1200, 32, 2)],
}
HELD = {
    "precision_recall_density_coverage": precision_recall_density_coverage,
    "kernel_distance": kernel_distance,
    "sliced_wasserstein": sliced_wasserstein,
    "frechet_distance": frechet_distance,
    "membership_auc": lambda X, Y: membership_auc(X, X[::-2], Y),
}


def samples(n: int, d: int) -> tuple[Rows, Rows]:
    """Return two samples of features, the second a little narrower and moved."""
    rng = np.random.default_rng(0)
    spread = np.linspace(1.0, 0.1, d)
    X, Y = rng.standard_normal((2, n, d)) * spread
    return X, 0.95 * Y + 0.02


def by_square_root(X: Rows, Y: Rows) -> float:
    """Return the Fréchet distance as its definition reads."""
    S, T = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    gap = X.mean(axis=0) - Y.mean(axis=0)
    return float(gap @ gap + np.trace(S + T - 2 * sqrtm(S @ T).real))


def by_prdc(X: Rows, Y: Rows) -> dict[str, float]:
    from prdc import compute_prdc

    with redirect_stdout(StringIO()):
        found: dict[str, float] = compute_prdc(X, Y, nearest_k=5)
    return found


class AsTheyAre(torch.nn.Module):
    """The features are the rows."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows


def by_torchmetrics(X: Rows, Y: Rows) -> float:
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its buffer
        peer = KernelInceptionDistance(feature=AsTheyAre(X.shape[1]))
    for rows, real in ((X, True), (Y, False)):
        peer.update(torch.from_numpy(rows.astype(np.float32)), real=real)
    return float(peer.compute()[0])


def in_turn(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int
) -> dict[str, Any]:
    """Return what both find, their seconds and how many times faster ours is."""
    found: dict[str, Any] = {}

    def keep(name: str, call: Callable[[], Any]) -> Callable[[], None]:
        return lambda: found.__setitem__(name, call())

    calls = {"ours": keep("ours", ours), "theirs": keep("theirs", theirs)}
    if rounds == 1:
        timed = {name: [seconds_and_peak(call)[1]] for name, call in calls.items()}
    else:
        timed = alternate(calls, rounds)
    times = {f"seconds_{name}": float(np.median(it)) for name, it in timed.items()}
    return {
        **times,
        "times_faster": speed_against(timed["ours"], timed["theirs"]),
        "found": found,
    }


def compare(part: str, n: int, d: int, rounds: int) -> dict[str, Any]:
    """Return speed and agreement of one measure and its peer."""
    X, Y = samples(n, d)
    if part == "frechet":
        frechet_distance(X[: d + 2, :8], Y[: d + 2, :8])  # what a first call loads
        result = in_turn(
            lambda: frechet_distance(X, Y), lambda: by_square_root(X, Y), rounds
        )
        result["self_distance"] = frechet_distance(X, X)
        result["self_distance_reversed"] = frechet_distance(X, X[::-1])
    elif part == "prdc":
        result = in_turn(
            lambda: precision_recall_density_coverage(X, Y)._asdict(),
            lambda: by_prdc(X, Y),
            rounds,
        )
    else:
        result = in_turn(
            lambda: kernel_distance(X, Y), lambda: by_torchmetrics(X, Y), rounds
        )
    both = result.pop("found")
    result["values"] = {name: as_plain(value) for name, value in both.items()}
    result["difference"] = float(
        np.max(np.abs(np.subtract(*map(as_numbers, (both["ours"], both["theirs"])))))
    )
    return result


def as_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: float(number) for name, number in value.items()}
    return float(value)


def as_numbers(value: Any) -> NDArray[np.float64]:
    plain = as_plain(value)
    return np.array(
        [plain[name] for name in sorted(plain)] if isinstance(plain, dict) else [plain]
    )


def measure(name: str, n: int, d: int) -> None:
    """Print seconds and memory of one measure, in this process."""
    X, Y = samples(n, d)
    HELD[name](X[:300], Y[:300])  # what a first call loads is no part of it
    _, seconds, memory = seconds_and_peak(lambda: HELD[name](X, Y))
    print(f"RESULT {seconds} {memory}")


def run_apart(name: str, n: int, d: int) -> dict[str, float]:
    """Return what `measure` finds in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(n), str(d)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = map(float, done.stdout.rsplit("RESULT", 1)[1].split())
    return dict(zip(("seconds", "peak_megabytes_above_data"), figures, strict=True))


def as_text(found: dict[str, Any]) -> str:
    speeds = [
        [
            NAMES[part][0],
            NAMES[part][1],
            size,
            f"{row['seconds_ours']:.2f}",
            f"{row['seconds_theirs']:.2f}",
            "{median:.1f} ({lower:.1f} to {upper:.1f})".format(**row["times_faster"]),
            f"{row['difference']:.1e}",
        ]
        for part in NAMES
        for size, row in found.get(part, {}).items()
    ]
    memory = [
        [
            f"`{name}`",
            size,
            f"{row['seconds']:.1f}",
            f"{row['peak_megabytes_above_data']:.0f}",
        ]
        for name, sizes in found.get("memory", {}).items()
        for size, row in sizes.items()
    ]
    selves = [
        f"- Fréchet distance of {size} to itself: {row['self_distance']:.1e}, with its "
        f"rows reversed {row['self_distance_reversed']:.1e}"
        for size, row in found.get("frechet", {}).items()
    ]
    columns = ["", "peer", "size", "s", "peer, s", "times faster", "difference"]
    return "\n".join(
        [
            "# Measures of generated rows",
            "",
            f"{torch.get_num_threads()} threads; medians, and quartiles in brackets. "
            "torchmetrics draws subsets, so that its figure is another estimate.",
            "",
            table(columns, speeds),
            "",
            *selves,
            "",
            table(["", "size", "seconds", "peak above the data, MB"], memory),
        ]
    )


def main() -> None:
    """Compare and measure, and store each figure before the next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to try out")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to run")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, n, d = options.measure
        measure(name, int(n), int(d))
        return
    file = "generation_metrics" + ("_quick" if options.quick else "")
    sizes = QUICK_SIZES if options.quick else SIZES
    for part in options.only or PARTS:
        if part == "memory":
            n, d = (3000, 32) if options.quick else (50_000, 128)
            for name in HELD:
                row = run_apart(name, n, d)
                print(f"{name}, {n} x {d}: {row}", flush=True)
                merge(file, {part: {name: {f"{n} x {d}": row}}})
            continue
        for n, d, rounds in sizes[part]:
            row = compare(part, n, d, rounds)
            print(f"{part}, {n} x {d}: {row}", flush=True)
            merge(file, {part: {f"{n} x {d}": row}})
    text = as_text(load(file))
    print(text)
    write_text(f"{file}.md", text)


if __name__ == "__main__":
    main()
