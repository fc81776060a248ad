"""Maps of MNIST and the places of new rows in them, beside openTSNE and umap-learn.

50 principal components of the training images, fitted on them: 60,000 rows to fit,
10,000 new ones, 2 dimensions. Fitted models are kept in `--models`, so a run fits what
is missing there (or what `--only` names) and then compares all that there are, in turn.

umap-learn is compiled by numba when first called, so a fit of 5,000 rows goes before
the timing of each contestant that uses it; what the first call costs stands beside it.
NeighborManifold gets a quarter, half, once and twice the seconds of umap-learn's fit,
its graph of neighbours included, and once and twice those of the first fit in a
process, compilation included: the epochs follow from the time of two trials.
"""

import pickle
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _maps import Images, file_name, mnist_components, options_for, quality, rounded
from _timing import alternate, load, merge, speed_against, table, write_text
from numpy.typing import NDArray

from manifoldgen import NeighborManifold, TSNEManifold, UMAPManifold

Rows = NDArray[np.float32]
MODELS = Path(__file__).parent / "models"
WARM_UP = 5000  # more than 4,096, where umap-learn begins to approximate
PEERS = ("openTSNE", "umap-learn")


def open_tsne(X: Rows) -> Any:
    from openTSNE import TSNE

    return TSNE(n_jobs=torch.get_num_threads()).fit(X)


def umap_learn(X: Rows) -> Any:
    from umap import UMAP

    return UMAP().fit(X)


FITS: dict[str, Callable[[Rows], Any]] = {
    "openTSNE": open_tsne,
    "umap-learn": umap_learn,
    "TSNEManifold, neighbors": lambda X: TSNEManifold().fit(X),
    "UMAPManifold, neighbors": lambda X: UMAPManifold().fit(X),
    "TSNEManifold, network": lambda X: TSNEManifold(placement="network").fit(X),
    "UMAPManifold, network": lambda X: UMAPManifold(placement="network").fit(X),
}
SHARES = {
    f"NeighborManifold, {share:g} x umap-learn's {kind}": (share, kind == "first fit")
    for kind, shares in (("fit", (0.25, 0.5, 1.0, 2.0)), ("first fit", (1.0, 2.0)))
    for share in shares
}
CONTESTANTS = [*FITS, *SHARES]


def timed(call: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call(*args)
    return result, time.perf_counter() - start


def warm_up(name: str, X: Rows) -> dict[str, Any]:
    """Compile what numba compiles, and return the seconds that umap-learn takes."""
    if name == "umap-learn":
        first = timed(lambda: umap_learn(X[:WARM_UP]))[1]
        model, second = timed(lambda: umap_learn(X[:WARM_UP]))
        model.transform(X[:100] + np.float32(1e-3))
        return {"seconds_of_5000_rows": {"first fit": first, "second fit": second}}
    if name.startswith("UMAPManifold"):
        UMAPManifold(n_epochs=20, max_epochs=1).fit(X[:WARM_UP])
    return {}


def umap_seconds(figures: dict[str, Any], first: bool) -> float:
    """Return the seconds of umap-learn's fit, or of the first one in a process."""
    compilation = np.subtract(*figures["seconds_of_5000_rows"].values())
    return float(figures["fit_seconds"] + (compilation if first else 0.0))


def seconds_of_epochs(X: Rows, trials: tuple[int, int]) -> tuple[float, float]:
    """Return the seconds of NeighborManifold before its epochs, and of each epoch.

    Its beginning, too, takes time in proportion to the epochs, up to 20 of them: a
    prediction for more is on the safe side.
    """
    few, more = (
        timed(NeighborManifold(max_epochs=n, random_state=0).fit, X)[1] for n in trials
    )
    each = (more - few) / (trials[1] - trials[0])
    return few - trials[0] * each, each


def fit_one(
    name: str, images: Images, found: dict[str, Any], pace: tuple[float, float] | None
) -> Any:
    """Return a fitted model and what is known of its fit."""
    if name in FITS:
        fit, figures = FITS[name], warm_up(name, images.X)
    elif "umap-learn" not in found:
        raise SystemExit("NeighborManifold gets the time of umap-learn: fit that first")
    else:
        share, first = SHARES[name]
        budget = share * umap_seconds(found["umap-learn"], first)
        assert pace is not None
        before, each = pace
        epochs = max(1, int((budget - before) / each))
        fit = NeighborManifold(max_epochs=epochs, random_state=0).fit
        figures = {"epochs": epochs, "seconds_allowed": budget}
    model, figures["fit_seconds"] = timed(lambda: fit(images.X))
    if hasattr(model, "history_"):
        figures["training_seconds"] = float(model.history_["seconds"][-1])
    return model, figures


def training_places(model: Any, X: Rows) -> NDArray[Any]:
    """Return where training rows are: of ours, what `transform` says."""
    if type(model).__module__.startswith("openTSNE"):
        return np.array(model)
    if type(model).__module__.startswith("umap"):
        return model.embedding_
    return model.transform(X)


def judge(name: str, model: Any, images: Images) -> dict[str, Any]:
    """Return quality, and whether rows alone are placed as in their batch."""
    Z_new = np.asarray(model.transform(images.X_new))
    Z = training_places(model, images.X)
    alone = 5 if name in PEERS else 200  # the peers take seconds for a few
    rows = [np.asarray(model.transform(images.X_new[[i]]))[0] for i in range(alone)]
    gap = np.abs(np.array(rows) - Z_new[:alone]).max() / Z.std(axis=0).mean()
    return {
        **quality(images, Z, Z_new),
        "bit_equal_alone": bool(np.array_equal(rows, Z_new[:alone])),
        "largest_gap_alone": float(gap),
        "rows_alone": alone,
    }


def speeds(models: dict[str, Any], images: Images, rounds: int) -> dict[str, Any]:
    """Time the placement of all new rows, and of one, all contestants in turn."""
    found: dict[str, Any] = {name: {} for name in models}
    for kind, rows, turns in (
        ("transform", images.X_new, rounds),
        ("one_row", images.X_new[:1], rounds),  # the peers take seconds for it
    ):
        calls = {n: partial(model.transform, rows) for n, model in models.items()}
        seconds = alternate(calls, turns)
        for name, own in seconds.items():
            found[name][f"{kind}_seconds"] = float(np.median(own))
            found[name][f"{kind}_faster_than"] = {
                peer: speed_against(own, seconds[peer])
                for peer in PEERS
                if peer in seconds and peer != name
            }
    return found


def as_table(found: dict[str, Any]) -> str:
    columns = ["", "fit, s", "epochs", "transform, s", "one row, ms"]
    columns += [f"times faster than {peer}" for peer in PEERS]
    columns += ["trustworthiness", "label accuracy", "rows alone as in the batch"]
    rows = []
    for name in CONTESTANTS:
        row = found.get(name, {})
        if "trustworthiness" not in row:
            continue
        faster = row.get("transform_faster_than", {})
        rows.append(
            [
                name,
                rounded(row["fit_seconds"], 1),
                row.get("epochs"),
                rounded(row.get("transform_seconds"), 3),
                rounded(1e3 * row.get("one_row_seconds", np.nan), 2),
                *(rounded(faster.get(peer, {}).get("median"), 1) for peer in PEERS),
                rounded(row["trustworthiness"], 4),
                rounded(row["label_accuracy"], 4),
                "bit-equal"
                if row["bit_equal_alone"]
                else f"up to {row['largest_gap_alone']:.1e} sd apart",
            ]
        )
    return table(columns, rows)


def main() -> None:
    """Fit what is missing, judge it, then time all in turn."""
    parser = options_for(__doc__, CONTESTANTS)
    parser.add_argument("--models", type=Path, help="folder of the fitted models")
    parser.add_argument("--rounds", type=int, default=5, help="of the timings")
    options = parser.parse_args()
    name_of_file = file_name("maps", options.quick)
    folder = options.models or MODELS / name_of_file
    folder.mkdir(parents=True, exist_ok=True)
    images = mnist_components(options.data, options.quick)
    models: dict[str, Any] = {}
    pace = None
    for name in CONTESTANTS:
        path = folder / f"{name}.pkl"
        if name in (options.only or ()) or not (options.only or path.exists()):
            print(f"{name}: fit", flush=True)
            before = load(name_of_file).get("placement", {})
            if name in SHARES and pace is None:
                pace = seconds_of_epochs(images.X, (1, 3) if options.quick else (2, 6))
            model, figures = fit_one(name, images, before, pace)
            path.write_bytes(pickle.dumps(model))
            figures |= judge(name, model, images)
            print(f"{name}: {figures}", flush=True)
            merge(name_of_file, {"placement": {name: figures}})
        if path.exists():
            models[name] = pickle.loads(path.read_bytes())  # we wrote it
    print(f"timing {', '.join(models)}", flush=True)
    figures = speeds(models, images, options.rounds)
    found = merge(name_of_file, {"n_fit": len(images.X), "placement": figures})
    lines = [
        "# Maps of MNIST",
        "",
        f"{len(images.X)} rows of 50 principal components to fit, {len(images.X_new)} "
        f"new ones, 2 dimensions, {torch.get_num_threads()} threads; transform of the "
        "new rows, medians, all contestants in turn.",
        "",
        as_table(found["placement"]),
    ]
    print("\n".join(lines))
    write_text(f"{name_of_file}.md", "\n".join(lines))


if __name__ == "__main__":
    main()
