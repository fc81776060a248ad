"""What tells images that are no digits, or digits that no one has seen, from digits?

A small convolutional network, of the size of LeNet, learns to name eight of the ten
digits of MNIST from the first 40,000 training images; every scorer then gets the same
features of the same network. Three seeds and five pairs of digits that are left out,
so that each digit is left out once and nobody chose a pair. Figures are areas under the
ROC curve x100 of the test images of the eight digits against

- far: CIFAR-10 in grey, digits with ink and paper exchanged, uniform noise, and the
  pixels of digits in an order of their own;
- near: the test images of the two digits, and those of 2 to 7 after a quarter turn.

`DEFAULT` was chosen by `--tune`, on training images alone, with other pairs left out,
fewer rows and another seed, before any of the sets above was looked at: `--tune` knows
no outliers but digits left out, as `select_features` does. Peers are plain and relative
Mahalanobis distances with a pseudo-inverse, the tenth neighbour, of rows as they are
and of length 1, and the maximum softmax probability. Peers see the last hidden layer,
as they do in the papers; those marked "on our layers" get all columns that ours has.

The second part, `--only selection`, asks `select_features` to choose among layers,
widths and principal components by the eight digits of fewer training images, and
compares its choice with the best of the candidates on the sets above, none of which it
saw.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from _detection import (
    DEFAULT,
    FAR,
    LAST,
    N_OUTLIERS,
    NETWORK,
    Choice,
    Judged,
    Scorer,
    auroc,
    columns_of,
    far_sets,
    kept_fit,
    nearest_rows,
    of_choice,
    percent,
    plain_mahalanobis,
    relative_mahalanobis,
    turned,
)
from _extractors import Labels, Rows, Splits, mnist_splits
from _judging import use_threads
from _maps import file_name, options_for
from _timing import load, merge, table, write_text
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from manifoldgen import ClassifierFeatures, MahalanobisScorer, select_features

SEEDS = (0, 1, 2)
PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
TUNING_SEED = 100
TUNING_PAIRS = ((0, 5), (1, 6), (2, 7), (3, 8), (4, 9))
N_TUNING_FIT, N_TUNING_JUDGED = 10_000, 4_000
TURNED = range(2, 8)
LEFT_OUT, QUARTER = "two digits left out", "2 to 7 turned by 90 degrees"
NEAR = (LEFT_OUT, QUARTER)
OURS = "MahalanobisScorer"
SELECTION = "selection"
PEERS = (
    "plain Mahalanobis",
    "relative Mahalanobis",
    "10-NN",
    "10-NN, length 1",
    "maximum softmax",
)
ON_OURS = ", on our layers"


# features


class Seen(NamedTuple):
    """What scorers are fitted on: a network and the features of its training rows."""

    network: ClassifierFeatures
    features: NDArray[np.float32]
    labels: Labels


def kept_digits(
    X: Rows, y: Labels, pair: tuple[int, ...], n: int | None
) -> tuple[Rows, Labels]:
    """Return the first `n` rows less those of two digits."""
    kept = ~np.isin(y[:n], pair)
    return X[:n][kept], y[:n][kept]


def trained(
    splits: Splits, pair: tuple[int, ...], seed: int, quick: bool, n: int | None = None
) -> Seen:
    """Return a network of eight digits, and what it makes of its training rows."""
    X, y = kept_digits(splits.X, splits.y, pair, 3000 if quick else n)
    parameters = NETWORK | ({"max_epochs": 2} if quick else {})
    network, seconds = kept_fit(
        ClassifierFeatures(**parameters, random_state=seed), X, y
    )
    print(f"seed {seed}, without {pair}: {seconds:.0f} s of training", flush=True)
    return Seen(network, network.transform(X), y)


# scorers: each takes the rows of Seen and returns a function of pixels and features

Score = Callable[[Rows, NDArray[np.float32]], NDArray[np.float64]]


def of_ours(choice: Choice, seen: Seen) -> Score:
    """Fit our scorer."""
    score = of_choice(choice, seen.network, seen.features, seen.labels)
    return lambda pixels, features: score(features)


def of_peer(
    layers: tuple[str, ...], fit: Callable[[NDArray[Any], Labels], Scorer], seen: Seen
) -> Score:
    """Fit a peer on some layers."""
    columns = columns_of(seen.network, layers)
    score = fit(seen.features[:, columns], seen.labels)
    return lambda pixels, features: score(features[:, columns])


def softmax(seen: Seen) -> Score:
    """Return the largest probability that the network gives to a class."""
    return lambda pixels, features: seen.network.predict_proba(pixels).max(axis=1)


FITS: dict[str, Callable[[NDArray[Any], Labels], Scorer]] = {
    "plain Mahalanobis": plain_mahalanobis,
    "relative Mahalanobis": relative_mahalanobis,
    "10-NN": lambda X, y: nearest_rows(X, 10),
    "10-NN, length 1": lambda X, y: nearest_rows(X, 10, unit=True),
}


def scores_of(name: str, seen: Seen) -> Score:
    """Fit the scorer of a name."""
    if name == OURS:
        return of_ours(DEFAULT, seen)
    if name == "maximum softmax":
        return softmax(seen)
    layers = DEFAULT.layers if name.endswith(ON_OURS) else (LAST,)
    return of_peer(layers, FITS[name.removesuffix(ON_OURS)], seen)


def scorers() -> list[str]:
    """Return the names of all scorers; peers twice where ours sees other layers."""
    again = [] if DEFAULT.layers == (LAST,) else [f"{name}{ON_OURS}" for name in FITS]
    return [OURS, *PEERS, *again]


# figures


def test_sets(
    splits: Splits, pair: tuple[int, ...], data: str | None, quick: bool
) -> Judged:
    """Return the test images of the eight digits and all outliers."""
    X, y = splits.X_test, splits.y_test
    if quick:
        X, y = X[:1000], y[:1000]
    left = np.isin(y, pair)
    near = (X[left], turned(X[~left], y[~left], TURNED))
    outliers = far_sets(X[~left], data) | dict(zip(NEAR, near, strict=True))
    n = 300 if quick else N_OUTLIERS
    some = {kind: rows[:n] for kind, rows in outliers.items()}
    return Judged(X[~left], y[~left], some)


def measure(seen: Seen, judged: Judged, names: list[str]) -> dict[str, Any]:
    """Return the AUROC of each scorer and set, with the seconds of fit and scores."""
    rows = {"normal": judged.normal, **judged.outliers}
    features = {kind: seen.network.transform(part) for kind, part in rows.items()}
    found = {}
    for name in names:
        start = time.perf_counter()
        score = scores_of(name, seen)
        scores = {kind: score(part, features[kind]) for kind, part in rows.items()}
        found[name] = {
            "auroc": {
                kind: auroc(scores["normal"], scores[kind]) for kind in judged.outliers
            },
            "seconds": time.perf_counter() - start,
        }
    return found


def accuracy(seen: Seen, judged: Judged) -> float:
    return float(np.mean(seen.network.predict(judged.normal) == judged.labels))


# tuning

WAYS: dict[str, dict[str, Any]] = {
    "tied": {},
    "full": {"class_covariance": "full"},
    "tied, relative": {"relative": True},
    "full, relative": {"class_covariance": "full", "relative": True},
}


def choices() -> dict[str, Choice]:
    """Return what `--tune` tries."""
    found = {}
    all_layers = NETWORK["layers"]
    for layers in ((LAST,), all_layers[1:3], all_layers[2:], all_layers[1:]):
        for way, parameters in WAYS.items():
            for length, more in (("", {}), (", length 1", {"normalize": "l2"})):
                for by_layer in (False, True)[: len(layers)]:
                    apart = ", by layer" if by_layer else ""
                    name = f"{' + '.join(layers)}: {way}{length}{apart}"
                    found[name] = Choice(layers, parameters | more, by_layer)
    return found


def tune(file: str, splits: Splits, quick: bool) -> None:
    """Rank all choices by digits left out, on the tuning images alone."""
    for pair in TUNING_PAIRS[: 1 if quick else None]:
        seen = trained(splits, pair, TUNING_SEED, quick, N_TUNING_FIT)
        n = 1000 if quick else N_TUNING_JUDGED
        rows, labels = splits.X_tuning[:n], splits.y_tuning[:n]
        features = seen.network.transform(rows)
        normal = ~np.isin(labels, pair)
        found = {}
        fits = {name: scores_of(name, seen) for name in PEERS}
        fits |= {name: of_ours(choice, seen) for name, choice in choices().items()}
        for name, score in fits.items():
            scores = score(rows, features)
            found[name] = auroc(scores[normal], scores[~normal])
        known = merge(file, {"left out": {"".join(map(str, pair)): found}})
    by_pair = [*known["left out"].values()]
    means = {name: [part[name] for part in by_pair] for name in by_pair[0]}
    ranked = sorted(means, key=lambda name: -np.mean(means[name]))
    text = table(
        ["scorer", "two digits left out"],
        [[name, percent(means[name])] for name in ranked],
    )
    print(text)
    write_text(f"{file}.md", f"# Choices, by digits left out of training\n\n{text}")


# features chosen without outliers


def candidates(quick: bool) -> dict[str, Any]:
    """Return what `select_features` chooses among, none of them fitted."""

    def network(n_features: int, layers: str, **parameters: Any) -> ClassifierFeatures:
        settings = NETWORK | {"n_features": n_features, "layers": layers} | parameters
        settings["max_epochs"] = 2 if quick else 10
        return ClassifierFeatures(**settings)

    return {
        "principal components, 20": PCA(20),
        "principal components, 60": PCA(60),
        "conv2": network(128, "conv2"),
        "conv2 and hidden1": network(128, ("conv2", "hidden1")),
        "hidden1, 16": network(16, "hidden1"),
        "hidden1, 64": network(64, "hidden1"),
        "hidden1, 128": network(128, "hidden1"),
        "hidden1, 128, not moved": network(128, "hidden1", augment=None),
        "logits": network(128, "output"),
    }


def select(
    splits: Splits, pair: tuple[int, ...], data: str | None, quick: bool
) -> dict[str, Any]:
    """Choose by the eight digits, and judge every candidate by sets not seen."""
    n = 800 if quick else 5000
    X, y = kept_digits(splits.X, splits.y, pair, n)
    scorer = MahalanobisScorer(class_conditional=True, **DEFAULT.parameters)
    start = time.perf_counter()
    chosen = select_features(candidates(quick), X, y, scorer=scorer, random_state=0)
    seconds = time.perf_counter() - start
    judged = test_sets(splits, pair, data, quick)
    found = {}
    for name, estimator in candidates(quick).items():
        estimator.set_params(random_state=0).fit(X, y)
        judge = MahalanobisScorer(
            class_conditional=True, random_state=0, **DEFAULT.parameters
        ).fit(estimator.transform(X), y)
        normal = judge.score_samples(estimator.transform(judged.normal))
        found[name] = {
            kind: auroc(normal, judge.score_samples(estimator.transform(rows)))
            for kind, rows in judged.outliers.items()
        }
    return {
        "chosen": chosen.best_name,
        "left out in turn": chosen.mean_auroc,
        "auroc": found,
        "seconds": seconds,
    }


# tables


def table_of_scorers(runs: dict[str, Any]) -> str:
    """Return the figures of each scorer and set, over seeds and pairs."""
    lines = [line for by_pair in runs.values() for line in by_pair.values()]
    rows = []
    for name in scorers():
        part = [line["scorers"][name] for line in lines if name in line["scorers"]]
        if part:
            values = [[one["auroc"][kind] for one in part] for kind in (*FAR, *NEAR)]
            rows.append([name, *(percent(value) for value in values)])
    return table(["", *FAR, *NEAR], rows)


def table_by_pair(runs: dict[str, Any], kind: str) -> str:
    """Return the figures of one set for each pair, over seeds."""
    pairs = sorted({pair for by_pair in runs.values() for pair in by_pair})
    rows = []
    for name in scorers():
        values = [
            [
                by_pair[pair]["scorers"][name]["auroc"][kind]
                for by_pair in runs.values()
                if name in by_pair.get(pair, {}).get("scorers", {})
            ]
            for pair in pairs
        ]
        if any(values):
            rows.append([name, *(percent(value) for value in values)])
    return table([kind, *(" and ".join(pair) for pair in pairs)], rows)


def table_of_selection(found: dict[str, Any]) -> str:
    """Return for each pair what was chosen, and the best on sets it never saw."""
    rows = []
    for pair, part in found.items():
        unseen = {name: mean_of(by_set) for name, by_set in part["auroc"].items()}
        best = max(unseen, key=lambda name: unseen[name])
        chosen = part["chosen"]
        rows.append(
            [
                " and ".join(pair),
                chosen,
                f"{100 * unseen[chosen]:.2f}",
                best,
                f"{100 * unseen[best]:.2f}",
                f"{100 * (unseen[best] - unseen[chosen]):.2f}",
            ]
        )
    columns = ["left out", "chosen", "AUROC", "best", "AUROC", "below the best"]
    return table(columns, rows)


def mean_of(by_set: dict[str, float]) -> float:
    return float(np.mean([*by_set.values()]))


def report(file: str, found: dict[str, Any]) -> None:
    lines = ["# Images that are no digits, and digits that were left out", ""]
    if runs := found.get("runs"):
        accuracies = [line["accuracy"] for by in runs.values() for line in by.values()]
        lines += [
            "AUROC x100, mean with the range over "
            f"{len(accuracies)} networks of {len(runs)} seeds, which name "
            f"{percent(accuracies)} % of the test images of their eight digits right. "
            f"Ours is `MahalanobisScorer(class_conditional=True, {arguments()})` on "
            f"{' and '.join(DEFAULT.layers)}, frozen before the table was made.",
            "",
            table_of_scorers(runs),
            "",
            *(f"{table_by_pair(runs, kind)}\n" for kind in NEAR),
        ]
    if selection := found.get(SELECTION):
        lines += [
            "Features that `select_features` chose by the eight digits, none of them "
            "an outlier, and the best candidate on the mean of all sets:",
            "",
            table_of_selection(selection),
        ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


def arguments() -> str:
    """Return the parameters of our default, as they are written in a call."""
    by_layer = {"groups": "one a layer"} if DEFAULT.by_layer else {}
    return ", ".join(f"{k}={v!r}" for k, v in (DEFAULT.parameters | by_layer).items())


def main() -> None:
    """Run network by network, and store each line before the next."""
    parser = options_for(__doc__, [*scorers(), SELECTION])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*SEEDS])
    parser.add_argument("--tune", action="store_true", help="never the test images")
    parser.add_argument("--threads", type=int, help="as many as torch takes by default")
    options = parser.parse_args()
    use_threads(options.threads)
    start = time.perf_counter()
    quick, asked = options.quick, options.only or [*scorers(), SELECTION]
    splits = mnist_splits(options.data)
    file = file_name("detection_tune" if options.tune else "detection", quick)
    if options.tune:
        tune(file, splits, quick)
        print(f"{time.perf_counter() - start:.0f} s in all")
        return
    pairs = PAIRS[: 1 if quick else None]
    names = [name for name in asked if name != SELECTION]
    for seed in options.seeds[: 1 if quick else None] if names else []:
        for pair in pairs:
            seen = trained(splits, pair, seed, quick)
            judged = test_sets(splits, pair, options.data, quick)
            line = {
                "accuracy": accuracy(seen, judged),
                "scorers": measure(seen, judged, names),
            }
            print(f"seed {seed}, without {pair}: {line}", flush=True)
            merge(file, {"runs": {str(seed): {"".join(map(str, pair)): line}}})
    for pair in pairs if SELECTION in asked else []:
        part = select(splits, pair, options.data, quick)
        print(f"selection without {pair}: {part}", flush=True)
        merge(file, {SELECTION: {"".join(map(str, pair)): part}})
    report(file, load(file))
    print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
