"""NeighborManifold takes 6,000 new rows into a map of 54,000: what moves, what fits.

50 principal components of the 60,000 training images of MNIST; the last tenth is new.
The new rows are judged where `transform` puts them before `partial_fit` and after it,
beside the 54,000; the 10,000 test images tell whether the map forgot anything.
"""

import time
from typing import Any

import numpy as np
from _maps import Images, file_name, mnist_components, options_for, quality
from _timing import merge, table, write_text
from numpy.typing import NDArray

from manifoldgen import NeighborManifold


def judge(model: NeighborManifold, new: Images, test: Images) -> dict[str, Any]:
    """Return the quality of the new rows and of the test images among the old rows."""
    Z = model.transform(new.X)
    return {
        "new rows": quality(new, Z, model.transform(new.X_new)),
        "test images": quality(test, Z, model.transform(test.X_new)),
    }


def movement(before: NDArray[Any], after: NDArray[Any]) -> dict[str, float]:
    """Return how far points moved, in standard deviations of the map."""
    spread = float(np.sqrt(before.var(axis=0).mean()))
    moved = np.linalg.norm(after - before, axis=1) / spread
    return {
        "median": float(np.median(moved)),
        "upper quartile": float(np.quantile(moved, 0.75)),
        "99th percentile": float(np.quantile(moved, 0.99)),
    }


def measure(images: Images, max_epochs: int | None, seed: int) -> dict[str, Any]:
    """Fit on nine tenths, take the last tenth in, and compare before and after."""
    n_old = len(images.X) * 9 // 10
    X, y = images.X[:n_old], images.y[:n_old]
    new = Images(X, images.X[n_old:], y, images.y[n_old:])
    test = images._replace(X=X, y=y)
    model = NeighborManifold(max_epochs=max_epochs, random_state=seed)
    seconds, found = {}, {}
    for step, rows in (("fit", X), ("partial_fit", new.X_new)):
        start = time.perf_counter()
        getattr(model, step)(rows)
        seconds[step] = time.perf_counter() - start
        print(f"{step}: {seconds[step]:.1f} s, {model.n_epochs_} epochs", flush=True)
        found[f"after {step}"] = judge(model, new, test)
        places = model.transform(X)
        if step == "fit":
            before = places
    return {
        "n_old": n_old,
        "n_new": len(new.X_new),
        "seconds": seconds,
        "movement": movement(before, places),
        **found,
    }


def main() -> None:
    """Run once for each seed, and store what it found before the next."""
    parser = options_for(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--max-epochs", type=int, help="of fit and of partial_fit")
    options = parser.parse_args()
    file = file_name("map_partial_fit", options.quick)
    images = mnist_components(options.data, options.quick)
    for seed in options.seeds:
        figures = measure(images, options.max_epochs, seed)
        print(figures, flush=True)
        found = merge(file, {"seeds": {str(seed): figures}})
    columns = ["seed", "fit, s", "partial_fit, s", "old rows move, median, sd"]
    for kind in ("new rows", "test images"):
        columns += [f"trustworthiness, {kind}", f"label accuracy, {kind}"]
    rows = [
        [
            seed,
            *(f"{run['seconds'][step]:.1f}" for step in ("fit", "partial_fit")),
            f"{run['movement']['median']:.4f}",
            *(
                f"{run['after fit'][kind][figure]:.4f} to "
                f"{run['after partial_fit'][kind][figure]:.4f}"
                for kind in ("new rows", "test images")
                for figure in ("trustworthiness", "label_accuracy")
            ),
        ]
        for seed, run in found["seeds"].items()
    ]
    lines = [
        "# New rows in an old map",
        "",
        f"NeighborManifold on {figures['n_old']} rows of MNIST's components, and "
        f"{figures['n_new']} by partial_fit; figures before and after it.",
        "",
        table(columns, rows),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


if __name__ == "__main__":
    main()
