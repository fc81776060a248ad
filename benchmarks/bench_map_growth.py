"""How the time of a fit grows with the rows: 2,000, 10,000 and 60,000 of MNIST.

50 principal components of the training images. Each contestant of each size runs in a
process of its own, with limits on memory and time; what exceeds them is recorded with
the last line it printed. NeighborManifold runs 5 epochs at every size. TorchDR runs on
the CPU; its t-SNE needs memory for all pairs of rows and minutes for its 2,000
iterations, so 20 of them tell the cost of one, and the whole is behind `--slow-peers`
with scikit-learn's t-SNE of 60,000 rows.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _maps import file_name, mnist_components, options_for, rounded
from _timing import load, merge, seconds_and_peak, table, write_text
from bench_maps import open_tsne, umap_learn
from numpy.typing import NDArray

from manifoldgen import NeighborManifold, TSNEManifold, UMAPManifold

Rows = NDArray[np.float32]
SIZES = (2000, 10_000, 60_000)
FEW_ITERATIONS = 20


def scikit_learn_tsne(X: Rows) -> None:
    from sklearn.manifold import TSNE

    TSNE(n_jobs=torch.get_num_threads(), verbose=2).fit(X)


def torchdr_umap(X: Rows) -> None:
    """With umap-learn's number of neighbours, which is half of TorchDR's own."""
    from torchdr import UMAP

    UMAP(n_neighbors=15, device="cpu", verbose=True).fit_transform(X)


def torchdr_tsne(X: Rows, **options: int) -> None:
    from torchdr import TSNE

    TSNE(device="cpu", verbose=True, **options).fit_transform(X)


FITS: dict[str, Callable[[Rows], object]] = {
    "NeighborManifold, 5 epochs": lambda X: NeighborManifold(
        max_epochs=5, random_state=0
    ).fit(X),
    "TSNEManifold": lambda X: TSNEManifold().fit(X),
    "UMAPManifold": lambda X: UMAPManifold().fit(X),
    "openTSNE": open_tsne,
    "umap-learn": umap_learn,
    "scikit-learn TSNE": scikit_learn_tsne,
    "TorchDR UMAP": torchdr_umap,
    "TorchDR TSNE, 20 iterations": lambda X: torchdr_tsne(X, max_iter=FEW_ITERATIONS),
    "TorchDR TSNE": torchdr_tsne,
}
SLOW = {("scikit-learn TSNE", 60_000)} | {("TorchDR TSNE", n) for n in SIZES}
NEEDS_COMPILING = ("umap-learn", "UMAPManifold")


def measure(name: str, path: Path, n_rows: int, gigabytes: float) -> None:
    """Print the seconds and the memory of one fit, in this process."""
    warnings.simplefilter("ignore")
    limit = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    X = np.load(path)
    # umap-learn compiles other functions for up to 4,096 rows than for more
    few = min(5000, n_rows) if name in NEEDS_COMPILING else 300
    if "TSNE" not in name or name == "openTSNE":
        FITS[name](X[:few])  # what a first call loads and compiles is no part of it
    X = X[:n_rows].copy()
    _, seconds, memory = seconds_and_peak(lambda: FITS[name](X))
    print(f"\nRESULT {seconds} {memory}")


def run_apart(
    name: str, path: Path, n_rows: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what `measure` finds in a process of its own, or how far it came."""
    command = [sys.executable, "-u", __file__, "--measure", name, str(path)]
    command += ["--sizes", str(n_rows), "--memory", str(options.memory)]
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=options.limit,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )
            how = f"ended with {done.returncode}"
        except subprocess.TimeoutExpired:
            how = "stopped"
        output.seek(0)
        lines = [line for line in output.read().splitlines() if line.strip()]
    last = lines[-1].rsplit("\r", 1)[-1].strip() if lines else ""
    if last.startswith("RESULT"):
        seconds, memory = map(float, last.split()[1:])
        return {"seconds": seconds, "peak_megabytes": memory, "failed": None}
    failed = f"{how} after {time.perf_counter() - start:.0f} s: {last[:200]}"
    return {"seconds": None, "peak_megabytes": None, "failed": failed}


def exponent(own: dict[str, Any]) -> float | None:
    """Return b of ``n**b`` between the two largest sizes that ran."""
    sizes = sorted(int(n) for n in own if own[n]["seconds"])[-2:]
    if len(sizes) < 2:
        return None
    low, high = (own[str(n)]["seconds"] for n in sizes)
    return math.log(high / low) / math.log(sizes[1] / sizes[0])


def as_table(found: dict[str, Any]) -> str:
    sizes = sorted({int(n) for own in found.values() for n in own})
    columns = ["", *(f"{n} rows, s" for n in sizes), "exponent", "largest peak, MB"]
    rows = []
    for name in FITS:
        own = found.get(name, {})
        if not own:
            continue
        cells = [own.get(str(n), {}) for n in sizes]
        peaks = [cell["peak_megabytes"] for cell in own.values() if cell["seconds"]]
        rows.append(
            [
                name,
                *(rounded(c.get("seconds"), 1) or c.get("failed") for c in cells),
                rounded(exponent(own), 2),
                rounded(max(peaks), 0) if peaks else None,
            ]
        )
    return table(columns, rows)


def extrapolated(found: dict[str, Any]) -> list[str]:
    """Say what TorchDR's t-SNE would need for the largest size, all pairs at a time."""
    own = found.get("TorchDR TSNE, 20 iterations", {})
    ran = [int(n) for n in own if own[n]["seconds"]]
    if not ran or max(ran) == SIZES[-1]:
        return []
    ratio = (SIZES[-1] / max(ran)) ** 2
    row = own[str(max(ran))]
    hours = ratio * row["seconds"] / FEW_ITERATIONS * 2000 / 3600
    return [
        "",
        f"TorchDR TSNE: {row['peak_megabytes'] / 1024:.1f} GB for {max(ran)} rows, and "
        f"by the square {ratio * row['peak_megabytes'] / 1024:.0f} GB and {hours:.0f} "
        f"hours of 2,000 iterations for {SIZES[-1]}.",
    ]


def main() -> None:
    """Run every contestant on every size, each in a fresh process."""
    parser = options_for(__doc__, FITS)
    parser.add_argument("--sizes", type=int, nargs="+", help="rows, by default all")
    parser.add_argument("--slow-peers", action="store_true", help="hours")
    parser.add_argument("--limit", type=float, default=7200, help="seconds of a fit")
    parser.add_argument("--memory", type=float, default=20, help="GB of a fit")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, path = options.measure
        measure(name, Path(path), options.sizes[0], options.memory)
        return
    file = file_name("map_growth", options.quick)
    images = mnist_components(options.data, False)
    sizes = options.sizes or ((500, 2000) if options.quick else SIZES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, images.X)
        del images
        for n_rows in sizes:
            for name in options.only or FITS:
                if (name, n_rows) in SLOW and not options.slow_peers:
                    continue
                figures = run_apart(name, path, n_rows, options)
                print(f"{name}, {n_rows} rows: {figures}", flush=True)
                merge(file, {"fit": {name: {str(n_rows): figures}}})
    found = load(file)["fit"]
    lines = [
        "# How fits grow",
        "",
        f"Seconds of a fit on 50 principal components of MNIST, "
        f"{torch.get_num_threads()} threads, at most {options.memory:g} GB; the "
        "exponent of n between the two largest sizes that ran; memory above the data.",
        "",
        as_table(found),
        *extrapolated(found),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


if __name__ == "__main__":
    main()
