"""Maps of small tables: breast cancer and wine of scikit-learn, held-out rows.

Standardised by the training rows, 5 shuffled splits of two thirds to a third, 2
dimensions, one seed for each split. PCA and Isomap are what a user has in scikit-learn;
openTSNE and umap-learn are the peers that place new rows. The round trip is of held-out
rows, in units of their spread: 0 is perfect, 1 the mean.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _maps import Images, file_name, options_for, quality
from _timing import merge, table, write_text
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.manifold import Isomap
from sklearn.model_selection import ShuffleSplit
from sklearn.preprocessing import StandardScaler

from manifoldgen import (
    DistilledManifold,
    NeighborManifold,
    TSNEManifold,
    UMAPManifold,
    round_trip_error,
)


def open_tsne(seed: int) -> Any:
    from openTSNE.sklearn import TSNE

    return TSNE(random_state=seed)


def umap_learn(seed: int) -> Any:
    from umap import UMAP

    return UMAP(random_state=seed, n_jobs=1)


CONTESTANTS: dict[str, Callable[[int], Any]] = {
    "PCA": lambda seed: PCA(2, random_state=seed),
    "Isomap": lambda seed: Isomap(n_neighbors=15),
    "openTSNE": open_tsne,
    "umap-learn": umap_learn,
    "TSNEManifold, neighbors": lambda seed: TSNEManifold(random_state=seed),
    "TSNEManifold, network": lambda seed: TSNEManifold(
        placement="network", random_state=seed
    ),
    "UMAPManifold, neighbors": lambda seed: UMAPManifold(random_state=seed),
    "UMAPManifold, network": lambda seed: UMAPManifold(
        placement="network", random_state=seed
    ),
    "NeighborManifold": lambda seed: NeighborManifold(random_state=seed),
    "DistilledManifold(PCA)": lambda seed: DistilledManifold(random_state=seed),
    "DistilledManifold(Isomap)": lambda seed: DistilledManifold(
        Isomap(n_neighbors=15), random_state=seed
    ),
}
TABLES = {"breast cancer": load_breast_cancer, "wine": load_wine}
FIGURES = {
    "trustworthiness": 3,
    "label_accuracy": 3,
    "round_trip_error": 3,
    "fit_seconds": 2,
    "transform_seconds": 4,
}


def splits(name: str, n_splits: int) -> list[Images]:
    """Return the splits of a table, columns scaled by what is fitted."""
    X, y = TABLES[name](return_X_y=True)
    found = []
    for kept, out in ShuffleSplit(n_splits, test_size=1 / 3, random_state=0).split(X):
        scaler = StandardScaler().fit(X[kept])
        rows = (scaler.transform(X[part]).astype(np.float32) for part in (kept, out))
        found.append(Images(*rows, y[kept], y[out]))
    return found


def measure(model: Any, rows: Images) -> dict[str, float]:
    """Return seconds and the quality of held-out rows."""
    start = time.perf_counter()
    Z = model.fit_transform(rows.X)
    fitted = time.perf_counter()
    Z_new = model.transform(rows.X_new)
    placed = time.perf_counter()
    found = quality(rows, Z, Z_new)
    if hasattr(model, "inverse_transform"):
        back = model.inverse_transform(Z_new)
        found["round_trip_error"] = round_trip_error(rows.X_new, back)
    return {
        **found,
        "fit_seconds": fitted - start,
        "transform_seconds": placed - fitted,
    }


def mean_and_sd(name: str, runs: list[dict[str, float]]) -> list[float] | None:
    values = [run[name] for run in runs if name in run]
    if not values:
        return None
    if name.endswith("seconds"):  # of the first run, numba's compilation is a part
        return [float(np.median(values)), float(np.max(values))]
    return [float(np.mean(values)), float(np.std(values))]


def as_table(found: dict[str, Any]) -> str:
    columns = ["", *FIGURES]
    rows = [
        [
            name,
            *(
                None if pair is None else f"{pair[0]:.{digits}f} ({pair[1]:.{digits}f})"
                for figure, digits in FIGURES.items()
                for pair in [found[name][figure]]
            ),
        ]
        for name in CONTESTANTS
        if name in found
    ]
    return table(columns, rows)


def main() -> None:
    """Run every contestant on both tables, and store its figures before the next."""
    parser = options_for(__doc__, CONTESTANTS, data=False)
    parser.add_argument("--splits", type=int, default=5)
    options = parser.parse_args()
    file = file_name("tables", options.quick)
    n_splits = 2 if options.quick else options.splits
    for name in options.only or CONTESTANTS:
        for data in TABLES:
            runs = [
                measure(CONTESTANTS[name](seed), rows)
                for seed, rows in enumerate(splits(data, n_splits))
            ]
            figures = {figure: mean_and_sd(figure, runs) for figure in FIGURES}
            print(f"{data}, {name}: {figures}", flush=True)
            found = merge(file, {"splits": n_splits, data: {name: figures}})
    lines = ["# Maps of small tables", ""]
    lines += [f"Held-out rows of {n_splits} splits: mean (sd), seconds median (most)."]
    for data in TABLES:
        lines += ["", f"## {data}", "", as_table(found[data])]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


if __name__ == "__main__":
    main()
