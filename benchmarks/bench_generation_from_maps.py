"""Digits generated from maps: a mixture of 20 in latent space, back to pixels.

MNIST in [0, 1]: 10,000 images to fit, 2,000 held-out test images against 2,000 drawn
ones, in pixels. Each map ends a pipeline with the same mixture; beside them PCA of the
same widths, and as many real training images.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _maps import QUICK_ROWS, file_name, options_for
from _timing import merge, table, write_text
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from manifoldgen import (
    NeighborManifold,
    TSNEManifold,
    UMAPManifold,
    energy_distance,
    make_generative_pipeline,
    precision_recall_density_coverage,
)
from manifoldgen.datasets import load_mnist

Rows = NDArray[np.floating]
N_FIT, N_DRAWN = 10_000, 2000
MAPS: dict[str, Callable[[int], Any]] = {
    "TSNEManifold": lambda seed: TSNEManifold(random_state=seed),
    "UMAPManifold": lambda seed: UMAPManifold(random_state=seed),
    "NeighborManifold(2)": lambda seed: NeighborManifold(2, random_state=seed),
    "NeighborManifold(16)": lambda seed: NeighborManifold(16, random_state=seed),
    "NeighborManifold(64)": lambda seed: NeighborManifold(64, random_state=seed),
    "PCA(2)": lambda seed: PCA(2, random_state=seed),
    "PCA(16)": lambda seed: PCA(16, random_state=seed),
    "PCA(64)": lambda seed: PCA(64, random_state=seed),
}
REAL = "real images"
FIGURES = ("precision", "recall", "density", "coverage", "energy", "fit_seconds")


def figures(held_out: Rows, drawn: Rows) -> dict[str, float]:
    """Return the quality of drawn images in pixels."""
    return {
        **precision_recall_density_coverage(held_out, drawn)._asdict(),
        "energy": energy_distance(held_out, drawn),
    }


def one_run(name: str, train: Rows, held_out: Rows, seed: int) -> dict[str, Any]:
    """Return the figures of one contestant with one seed, or why there are none."""
    if name == REAL:
        chosen = np.random.RandomState(seed).permutation(len(train))[: len(held_out)]
        return figures(held_out, train[chosen])
    mixture = GaussianMixture(20, random_state=seed)
    pipe = make_generative_pipeline(MAPS[name](seed), mixture)
    start = time.perf_counter()
    try:
        pipe.fit(train)
    except ValueError as error:  # of a mixture with a component of too few rows
        return dict.fromkeys(FIGURES) | {"failed": str(error)}
    seconds = time.perf_counter() - start
    drawn = pipe.sample(len(held_out), random_state=seed)
    found = figures(held_out, drawn)
    return {**found, "fit_seconds": seconds, "failed": None}


def as_table(found: dict[str, Any]) -> str:
    rows = []
    for name in (*MAPS, REAL):
        runs = list(found.get(name, {}).values())
        row: list[Any] = [name]
        for figure in FIGURES:
            values = [run[figure] for run in runs if run.get(figure) is not None]
            row.append(
                f"{np.mean(values):.3f} ({np.std(values):.3f})" if values else ""
            )
        row.append(sum(bool(run.get("failed")) for run in runs) or None)
        if runs:
            rows.append(row)
    return table(["", *FIGURES, "failed fits of the mixture"], rows)


def main() -> None:
    """Run every contestant with every seed, and store each before the next."""
    parser = options_for(__doc__, [*MAPS, REAL])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    file = file_name("generation_from_maps", options.quick)
    n_fit, n_drawn = QUICK_ROWS if options.quick else (N_FIT, N_DRAWN)
    split = load_mnist(options.data)
    train = split.X_train[:n_fit].astype(np.float32) / 255
    held_out = split.X_test[:n_drawn].astype(np.float32) / 255
    for name in options.only or [*MAPS, REAL]:
        for seed in range(1 if options.quick else options.seeds):
            run = one_run(name, train, held_out, seed)
            print(f"{name}, seed {seed}: {run}", flush=True)
            found = merge(file, {"runs": {name: {str(seed): run}}})
    lines = [
        "# Digits from maps",
        "",
        f"{n_fit} images to fit, {n_drawn} held-out ones against {n_drawn} drawn, in "
        "pixels; mean (sd) of the seeds.",
        "",
        as_table(found["runs"]),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


if __name__ == "__main__":
    main()
