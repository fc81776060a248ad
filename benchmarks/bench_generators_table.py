"""Generators of a small table, breast cancer: 379 rows to fit and 190 held out.

Columns are standardised by the rows to fit. Every generator draws by label, as many
rows of each as are held out: ours with `conditional=True`, those of scikit-learn and
pythae as one model a class. Held-out rows that were never seen are beside rows of the
training set, which is what a perfect generator reaches ("real rows"). Accuracy ratio:
on held-out rows of a logistic regression that learned from generated rows, over that
of one that learned from the real ones.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import _pythae
import numpy as np
from _maps import Images, file_name, options_for
from _timing import merge, table, write_text
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedShuffleSplit,
)
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import manifoldgen
from manifoldgen import (
    classifier_two_sample_test,
    energy_distance,
    precision_recall_density_coverage,
    sample_from,
    train_on_synthetic,
)
from manifoldgen.metrics import near_copy_share

Rows = NDArray[np.floating]
Draw = Callable[[NDArray[Any], int], Rows]  # labels and a seed to rows
Fit = Callable[[Rows, NDArray[Any], int], Draw]
PYTHAE_SECONDS = 10.0  # of each class
FIGURES = {
    "energy_distance": 3,
    "coverage": 3,
    "recall": 3,
    "two_sample_accuracy": 3,
    "two_sample_p_value": 2,
    "accuracy_ratio": 3,
    "near_copies": 3,
    "fit_seconds": 1,
}


def by_class(fit: Callable[[Rows, int], Callable[[int, int], Rows]]) -> Fit:
    """Return a contestant that fits one model a class."""

    def fit_all(X: Rows, y: NDArray[Any], seed: int) -> Draw:
        draws = {label: fit(X[y == label], seed) for label in np.unique(y)}

        def draw(labels: NDArray[Any], seed: int) -> Rows:
            rows = np.empty((len(labels), X.shape[1]))
            for label, of_class in draws.items():
                places = labels == label
                rows[places] = of_class(int(places.sum()), seed)
            return rows

        return draw

    return fit_all


def of_estimator(model: Any) -> Callable[[int, int], Rows]:
    return lambda n, seed: sample_from(model, n, random_state=seed)


def mixture(X: Rows, seed: int) -> Callable[[int, int], Rows]:
    """Fit the mixture of 1 to 5 Gaussians with the lowest BIC."""
    fitted = [GaussianMixture(k, random_state=seed).fit(X) for k in range(1, 6)]
    return of_estimator(min(fitted, key=lambda model: model.bic(X)))


def kernel_density(X: Rows, seed: int) -> Callable[[int, int], Rows]:
    """Fit a density whose width is that of the highest held-out likelihood."""
    grid = {"bandwidth": np.geomspace(0.1, 2.0, 15)}
    return of_estimator(GridSearchCV(KernelDensity(), grid).fit(X).best_estimator_)


def pythae(X: Rows, seed: int, *, kind: str) -> Callable[[int, int], Rows]:
    """Fit a model of pythae on columns in [0, 1], as its decoder wants, and a mixture.

    In these units the columns together vary by less than 1, against which the
    Kullback-Leibler term of the VAE weighs much: so RAE_L2 goes with it.
    """
    scaler = MinMaxScaler(clip=True).fit(X)
    units = scaler.transform(X).astype(np.float32)
    model = _pythae.new(kind, (X.shape[1],), 8, "mlp", seed)
    _pythae.train(model, units, PYTHAE_SECONDS, seed)
    draw = _pythae.fit_sampler("GMM", model, units, PYTHAE_SECONDS, seed)
    return lambda n, seed: scaler.inverse_transform(draw(n, seed))


def ours(X: Rows, y: NDArray[Any], seed: int, *, kind: str, **parameters: Any) -> Draw:
    model = getattr(manifoldgen, kind)(
        conditional=True, random_state=seed, **parameters
    )
    model.fit(X, y)
    return lambda labels, seed: model.sample(y=labels, random_state=seed)


CONTESTANTS: dict[str, Fit] = {
    "GaussianMixture by BIC": by_class(mixture),
    "KernelDensity": by_class(kernel_density),
    "LatentMixture": partial(ours, kind="LatentMixture"),
    "LatentFlowMatching": partial(ours, kind="LatentFlowMatching"),
    "LatentNormalizingFlow": partial(ours, kind="LatentNormalizingFlow"),
    "LatentGAN": partial(ours, kind="LatentGAN"),
    "LatentGAN, hinge": partial(ours, kind="LatentGAN", loss="hinge"),
    "pythae VAE + GMM": by_class(partial(pythae, kind="VAE")),
    "pythae RAE_L2 + GMM": by_class(partial(pythae, kind="RAE_L2")),
}


def splits(n_splits: int) -> list[Images]:
    """Return splits of the table, columns standardised by the rows to fit."""
    X, y = load_breast_cancer(return_X_y=True)
    found = []
    splitter = StratifiedShuffleSplit(n_splits, test_size=1 / 3, random_state=0)
    for kept, out in splitter.split(X, y):
        scaler = StandardScaler().fit(X[kept])
        rows = (scaler.transform(X[part]) for part in (kept, out))
        found.append(Images(*rows, y[kept], y[out]))
    return found


def figures(rows: Images, drawn: Rows, to_learn: Rows, seed: int) -> dict[str, float]:
    """Return the figures of rows drawn for the held-out labels.

    `to_learn` are those drawn for the labels of the rows to fit.
    """
    prdc = precision_recall_density_coverage(rows.X_new, drawn, n_neighbors=5)
    test = classifier_two_sample_test(rows.X_new, drawn, random_state=seed)
    learned = train_on_synthetic(
        to_learn,
        rows.y,
        rows.X_new,
        rows.y_new,
        X_train=rows.X,
        y_train=rows.y,
        random_state=seed,
    )
    return {
        "energy_distance": energy_distance(rows.X_new, drawn),
        "coverage": prdc.coverage,
        "recall": prdc.recall,
        "two_sample_accuracy": test.accuracy,
        "two_sample_p_value": test.p_value,
        "accuracy_ratio": learned.ratio,
        "near_copies": near_copy_share(rows.X, drawn),
    }


def measure(name: str, rows: Images, seed: int) -> dict[str, float]:
    """Return the figures of one contestant on one split with one seed."""
    if name == "real rows":
        rng = np.random.default_rng(seed)
        some = rows.X[rng.permutation(len(rows.X))[: len(rows.X_new)]]
        found = figures(rows, some, rows.X, seed)
        # training rows are copies of themselves; held-out ones say what chance gives
        return found | {"near_copies": near_copy_share(rows.X, rows.X_new)}
    start = time.perf_counter()
    draw = CONTESTANTS[name](rows.X, rows.y, seed)
    seconds = time.perf_counter() - start
    found = figures(rows, draw(rows.y_new, seed), draw(rows.y, seed + 1), seed)
    return found | {"fit_seconds": seconds}


def cell(name: str, runs: list[dict[str, float]]) -> str | None:
    """Return mean and standard deviation for a table, of p-values the median."""
    values = [run[name] for run in runs if name in run]
    if not values:
        return None
    digits = FIGURES[name]
    if name == "two_sample_p_value":
        return f"{np.median(values):.{digits}g}"
    return f"{np.mean(values):.{digits}f} ({np.std(values):.{digits}f})"


def main() -> None:
    """Run contestant by contestant, and store the runs of each before the next."""
    names = ["real rows", *CONTESTANTS]
    parser = options_for(__doc__, names, data=False)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    n_splits, n_seeds = (1, 1) if options.quick else (options.splits, options.seeds)
    file = file_name("generators_table", options.quick)
    for name in options.only or names:
        runs = [
            measure(name, rows, seed)
            for rows in splits(n_splits)
            for seed in range(n_seeds)
        ]
        print(f"{name}: {runs[0]}", flush=True)
        found = merge(file, {"runs": {name: runs}})
    known = [name for name in names if name in found["runs"]]
    cells = [
        [name, *(cell(it, found["runs"][name]) for it in FIGURES)] for name in known
    ]
    lines = [
        "# Generators of a small table",
        "",
        f"Breast cancer, {n_splits} splits with {n_seeds} seeds each: mean (sd), of "
        "p-values the median.",
        "",
        table(["", *(name.replace("_", " ") for name in FIGURES)], cells),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


if __name__ == "__main__":
    main()
