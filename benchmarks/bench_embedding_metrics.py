"""Time and peak memory of the measures of maps, each in a process of its own.

70,000 images of MNIST by 50 principal components, and the first 2 of them as the map,
in float64, because scikit-learn computes in the precision of what it is given.
scikit-learn's trustworthiness holds matrices of all pairs, so it runs on as many rows
as fit, and ours on the same, which also shows how far the values are apart.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _maps import file_name, options_for, rounded
from _timing import load, merge, seconds_and_peak, table, write_text
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from manifoldgen import continuity, coranking_curve, neighbor_recall, trustworthiness
from manifoldgen.datasets import load_mnist

Rows = NDArray[np.float64]
N_NEIGHBORS = 15


def scikit_learn(X: Rows, Z: Rows) -> float:
    from sklearn.manifold import trustworthiness as theirs

    return float(theirs(X, Z, n_neighbors=N_NEIGHBORS))


MEASURES: dict[str, Callable[[Rows, Rows], float]] = {
    "trustworthiness": lambda X, Z: trustworthiness(X, Z, n_neighbors=N_NEIGHBORS),
    "continuity": lambda X, Z: continuity(X, Z, n_neighbors=N_NEIGHBORS),
    "neighbor_recall": lambda X, Z: neighbor_recall(X, Z, n_neighbors=N_NEIGHBORS),
    "coranking_curve, 100 neighbors": lambda X, Z: (
        coranking_curve(X, Z, max_neighbors=100).auc
    ),
    "scikit-learn trustworthiness": scikit_learn,
}
PEER = "scikit-learn trustworthiness"
COMPARED = (5000, 10_000, 20_000)


def measure(name: str, path: Path, n_rows: int) -> None:
    """Print seconds, memory and value of one measure, in this process."""
    X = np.load(path)[:n_rows]
    Z = X[:, :2].copy()
    MEASURES[name](X[:300], Z[:300])  # what a first call loads is no part of it
    value, seconds, memory = seconds_and_peak(lambda: MEASURES[name](X, Z))
    print(f"RESULT {seconds} {memory} {value!r}")


def run_apart(name: str, path: Path, n_rows: int) -> dict[str, float]:
    """Return what `measure` finds in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(path), str(n_rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = map(float, done.stdout.rsplit("RESULT", 1)[1].split())
    return dict(
        zip(("seconds", "peak_megabytes_above_data", "value"), figures, strict=True)
    )


def as_tables(found: dict[str, Any]) -> list[str]:
    columns = ["", "rows", "seconds", "peak above the data, MB", "value"]
    rows = [
        [
            name,
            n,
            rounded(row["seconds"], 1),
            rounded(row["peak_megabytes_above_data"], 0),
            rounded(row["value"], 6),
        ]
        for name in MEASURES
        for n, row in sorted(found.get(name, {}).items(), key=lambda it: int(it[0]))
    ]
    both = found.get("trustworthiness", {}), found.get(PEER, {})
    gaps = [
        f"- difference from scikit-learn's of {n} rows: "
        f"{abs(both[0][n]['value'] - both[1][n]['value']):.1e}"
        for n in both[1]
        if n in both[0]
    ]
    return [table(columns, rows), "", *gaps]


def main() -> None:
    """Run every measure in a fresh process, and store each before the next."""
    parser = options_for(__doc__, MEASURES)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, path, n_rows = options.measure
        measure(name, Path(path), int(n_rows))
        return
    file = file_name("embedding_metrics", options.quick)
    split = load_mnist(options.data)
    images = np.concatenate([split.X_train, split.X_test])
    compared, all_rows = COMPARED, len(images)
    if options.quick:
        compared, all_rows = (1000,), 2500
    X = PCA(50, random_state=0).fit_transform(images[:all_rows].astype(np.float32))
    X = X.astype(np.float64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, X)
        for name in options.only or MEASURES:
            sizes = (*compared, all_rows) if name == "trustworthiness" else (all_rows,)
            for n_rows in compared if name == PEER else sizes:
                figures = run_apart(name, path, n_rows)
                print(f"{name}, {n_rows} rows: {figures}", flush=True)
                merge(file, {"measures": {name: {str(n_rows): figures}}})
    lines = [
        "# Measures of maps",
        "",
        f"50 components of MNIST against 2, {N_NEIGHBORS} neighbours where not said, "
        f"{torch.get_num_threads()} threads.",
        "",
        *as_tables(load(file)["measures"]),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


if __name__ == "__main__":
    main()
