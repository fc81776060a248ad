"""From the map back to pixels of MNIST: seconds, and squared error of new images.

Every row is fitted on the 784 pixels, 0 to 1, of the 60,000 training images, goes with
the 10,000 test images to its map and back, and is measured in squared pixels. Where
umap-learn goes back it takes a minute for a few points, so it gets 10 of them. PCA is
what a map without a network loses. NeighborManifold(64) has hidden layers of 1024 and
512, the others their defaults.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _maps import Images, file_name, mnist_pixels, options_for, rounded
from _timing import merge, table, write_text
from sklearn.decomposition import PCA

from manifoldgen import NeighborManifold, TSNEManifold, UMAPManifold


def umap_learn() -> Any:
    from umap import UMAP

    return UMAP()


CONTESTANTS: dict[str, Callable[[], Any]] = {
    "NeighborManifold(2)": lambda: NeighborManifold(2, random_state=0),
    "NeighborManifold(64)": lambda: NeighborManifold(
        64, hidden_sizes=(1024, 512), random_state=0
    ),
    "TSNEManifold, neighbors": lambda: TSNEManifold(),
    "UMAPManifold, neighbors": lambda: UMAPManifold(),
    "PCA(2)": lambda: PCA(2, random_state=0),
    "PCA(64)": lambda: PCA(64, random_state=0),
    "umap-learn": umap_learn,
}
NETWORKS: dict[str, Callable[[], Any]] = {
    "TSNEManifold, network": lambda: TSNEManifold(placement="network"),
    "UMAPManifold, network": lambda: UMAPManifold(placement="network"),
}
FEW = 10  # points that umap-learn takes back


def measure(name: str, model: Any, images: Images, rounds: int) -> dict[str, Any]:
    """Return seconds, and mean squared errors in pixels from 0 to 1."""
    start = time.perf_counter()
    model.fit(images.X)
    found: dict[str, Any] = {"fit_seconds": time.perf_counter() - start}
    peer = name == "umap-learn"
    rows = images.X_new[:FEW] if peer else images.X_new
    Z = model.transform(rows)
    seconds = []
    for _ in range(1 if peer else rounds):
        start = time.perf_counter()
        back = model.inverse_transform(Z)
        seconds.append(time.perf_counter() - start)
    found["points_back"] = len(Z)
    found["inverse_seconds"] = float(np.median(seconds))
    found["squared_error"] = float(np.square(back - rows).mean())
    if hasattr(model, "n_epochs_"):
        found["epochs"] = model.n_epochs_
    return found


def as_table(found: dict[str, Any]) -> str:
    columns = ["", "input", "fit, s", "epochs", "points", "back, s", "squared error"]
    rows = [
        [
            name,
            "784 pixels",
            rounded(row["fit_seconds"], 1),
            row.get("epochs"),
            row["points_back"],
            rounded(row["inverse_seconds"], 3),
            rounded(row["squared_error"], 5),
        ]
        for name in (*CONTESTANTS, *NETWORKS)
        if (row := found.get(name))
    ]
    return table(columns, rows)


def main() -> None:
    """Run every contestant and store what it found before the next."""
    parser = options_for(__doc__, [*CONTESTANTS, *NETWORKS])
    parser.add_argument("--networks", action="store_true", help="those, too")
    parser.add_argument("--rounds", type=int, default=3, help="of the way back")
    options = parser.parse_args()
    file = file_name("map_inverse", options.quick)
    images = mnist_pixels(options.data, options.quick)
    chosen = options.only or [*CONTESTANTS, *(NETWORKS if options.networks else ())]
    for name in chosen:
        print(name, flush=True)
        model = (CONTESTANTS | NETWORKS)[name]()
        figures = measure(name, model, images, options.rounds)
        print(figures, flush=True)
        found = merge(file, {"n_fit": len(images.X), "inverse": {name: figures}})
    lines = [
        "# From maps of MNIST back to pixels",
        "",
        f"{len(images.X)} images of 784 pixels, 0 to 1, to fit, {len(images.X_new)} "
        f"new ones there and back, {torch.get_num_threads()} threads.",
        "",
        as_table(found["inverse"]),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


if __name__ == "__main__":
    main()
