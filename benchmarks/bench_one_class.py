"""What finds digits of another kind: one digit normal, or nine of the ten?

"one": a digit alone is normal, and the other nine are outliers. "nine": a digit is left
out, and the nine others are normal. Scorers are fitted on the first 40,000 training
images of MNIST less those of the outliers, and figures are areas under the ROC curve of
all 10,000 test images, one run a digit. `--tune` judges by the last 10,000 training
images, where settings were chosen, and writes to files of its own.

No scorer is told a label, but for the lines "with labels" of "nine", where a small
classifier is trained on the nine digits: those compare with one another, and tell the
others what labels are worth.

"clusters": a distance from the nearest of 20 Gaussians, each of a cluster that k-means
finds in the features, with a covariance of its own.

"PCA + residual Mahalanobis" is the sum of the distances that scikit-learn's OAS
covariance gives of 32 principal components and of what they leave out. 5-NN is the
distance from the fifth neighbour; PyOD's AutoEncoder and IsolationForest are as they
are by default. Seconds of a fit leave out a network that a line before it trained.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from _detection import (
    DEFAULT,
    IMAGE_SHAPE,
    LAST,
    NETWORK,
    Scorer,
    auroc,
    columns_of,
    kept_fit,
    nearest_rows,
    of_choice,
    of_unit_length,
)
from _extractors import Labels, Rows, Splits, mnist_splits
from _judging import use_threads
from _maps import file_name, options_for
from _timing import load, merge, table, write_text
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.covariance import OAS
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from manifoldgen import (
    AutoencoderManifold,
    ClassifierFeatures,
    MahalanobisScorer,
    ManifoldScorer,
    SelfSupervisedFeatures,
)

ONE, NINE = "one", "nine"
TASKS = (ONE, NINE)
SECONDS = 600.0  # of the training of a network, which few fits reach
WANTED_MEAN, WANTED_LEAST, WANTED_MARGIN = 0.965, 0.90, 0.02


class Run(NamedTuple):
    """What every scorer gets, and how many epochs where that is not its own choice."""

    X: Rows
    y: Labels  # for lines with labels alone
    max_epochs: int | None


Fit = Callable[[Run], Scorer]


# ours


AUTOENCODER: dict[str, Any] = {
    "n_components": 32,
    "architecture": "conv",
    "channels": (16, 32),
    "hidden_sizes": (256,),
    "image_shape": IMAGE_SHAPE,
    "learning_rate": 4e-3,
    "schedule": "one_cycle",
    "max_epochs": 30,
    "patience": None,
    "max_time": SECONDS,
    "device": "cpu",
}
FEATURES: dict[str, Any] = {
    "image_shape": IMAGE_SHAPE,
    "max_time": SECONDS,
    "device": "cpu",
}
N_LEADING, N_CLUSTERS = 30, 20


def manifold_scorer(run: Run) -> Scorer:
    """Fit distances along an autoencoder's manifold and off it."""
    manifold = AutoencoderManifold(**AUTOENCODER)
    if run.max_epochs is not None:
        manifold.set_params(max_epochs=run.max_epochs)
    return ManifoldScorer(manifold, random_state=0).fit(run.X).score_samples


def self_supervised(run: Run, clustered: bool) -> Scorer:
    """Fit features that tell transformations apart, and distances in them.

    From one Gaussian, or from the nearest of those of clusters, which serve as classes.
    """
    features = SelfSupervisedFeatures(
        **FEATURES, max_epochs=run.max_epochs, random_state=0
    )
    features, _ = kept_fit(features, run.X)
    seen = features.transform(run.X)
    scorer, clusters = MahalanobisScorer(random_state=0), None
    if clustered:
        scorer.set_params(class_conditional=True, class_covariance="full")
        clusters = clusters_of(seen)
    scorer.fit(seen, clusters)
    return lambda Q: scorer.score_samples(features.transform(Q))


def clusters_of(features: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the cluster of each row, by the direction of its leading components."""
    pca = PCA(N_LEADING, random_state=0)
    directions = of_unit_length(pca.fit_transform(features))
    return KMeans(N_CLUSTERS, random_state=0).fit_predict(directions)


def classifier(run: Run) -> ClassifierFeatures:
    """Return the network of the lines with labels, trained once for all of them."""
    parameters = NETWORK | ({"max_epochs": run.max_epochs} if run.max_epochs else {})
    network = ClassifierFeatures(**parameters, random_state=0)
    return kept_fit(network, run.X, run.y)[0]


def with_classes(run: Run) -> Scorer:
    """Fit the default of `bench_detection.py`."""
    network = classifier(run)
    score = of_choice(DEFAULT, network, network.transform(run.X), run.y)
    return lambda Q: score(network.transform(Q))


# peers


def principal_components(run: Run) -> Scorer:
    """Fit two covariances, of components and of what they leave out."""
    pca = PCA(min(32, len(run.X) - 1), random_state=0).fit(run.X)

    def parts(Q: Rows) -> tuple[Any, Any]:
        latents = pca.transform(Q)
        return latents, Q - pca.inverse_transform(latents)

    laws = [OAS().fit(part) for part in parts(run.X)]

    def score(Q: Rows) -> Any:
        pairs = zip(laws, parts(Q), strict=True)
        return -np.sum([law.mahalanobis(part) for law, part in pairs], axis=0)

    return score


def neighbours(run: Run, n_components: int | None = None) -> Scorer:
    """Index the rows, or their principal components."""
    if n_components is None:
        return nearest_rows(run.X, 5)
    pca = PCA(n_components, random_state=0).fit(run.X)
    score = nearest_rows(pca.transform(run.X), 5)
    return lambda Q: score(pca.transform(Q))


def of_pyod(run: Run) -> Scorer:
    """Fit PyOD's autoencoder, which seeds all global generators."""
    from pyod.models.auto_encoder import AutoEncoder

    parameters = {"epoch_num": run.max_epochs} if run.max_epochs else {}
    with torch.random.fork_rng(devices=[]):
        detector = AutoEncoder(device="cpu", random_state=0, verbose=0, **parameters)
        detector.fit(run.X)
    return lambda Q: -detector.decision_function(Q)


def forest(run: Run) -> Scorer:
    """Fit scikit-learn's isolation forest."""
    return IsolationForest(random_state=0).fit(run.X).score_samples


def softmax(run: Run) -> Scorer:
    """Take the largest probability that the classifier gives to a digit."""
    network = classifier(run)
    return lambda Q: network.predict_proba(Q).max(axis=1)


def neighbours_of_features(run: Run) -> Scorer:
    """Index what the classifier makes of the rows, at length 1."""
    network = classifier(run)
    columns = columns_of(network, (LAST,))
    score = nearest_rows(network.transform(run.X)[:, columns], 10, unit=True)
    return lambda Q: score(network.transform(Q)[:, columns])


OURS: dict[str, Fit] = {
    "ManifoldScorer": manifold_scorer,
    "SelfSupervisedFeatures + MahalanobisScorer": partial(
        self_supervised, clustered=False
    ),
    "SelfSupervisedFeatures + clusters + MahalanobisScorer": partial(
        self_supervised, clustered=True
    ),
}
PEERS: dict[str, Fit] = {
    "PCA + residual Mahalanobis": principal_components,
    "5-NN": neighbours,
    "5-NN, 50 components": partial(neighbours, n_components=50),
    "PyOD AutoEncoder": of_pyod,
    "IsolationForest": forest,
}
WITH_LABELS = ", with labels"
OURS_LABELLED: dict[str, Fit] = {
    f"ClassifierFeatures + MahalanobisScorer{WITH_LABELS}": with_classes
}
PEERS_LABELLED: dict[str, Fit] = {
    f"maximum softmax{WITH_LABELS}": softmax,
    f"10-NN of ClassifierFeatures{WITH_LABELS}": neighbours_of_features,
}
LABELLED = OURS_LABELLED | PEERS_LABELLED
CONTESTANTS = OURS | PEERS | LABELLED


# the run


def rows_of(splits: Splits, task: str, digit: int, quick: bool) -> Run:
    """Return the training images that are normal."""
    X, y = splits.X, splits.y
    normal = np.flatnonzero(is_normal(y, task, digit))[: 600 if quick else None]
    return Run(X[normal], y[normal], 2 if quick else None)


def is_normal(y: Labels, task: str, digit: int) -> Any:
    return y == digit if task == ONE else y != digit


def measure(fit: Fit, run: Run, images: Rows, normal: Any) -> dict[str, float]:
    """Return the figure of a scorer, with its seconds."""
    start = time.perf_counter()
    score = fit(run)
    fitted = time.perf_counter()
    scores = score(images)
    return {
        "auroc": auroc(scores[normal], scores[~normal]),
        "seconds": fitted - start,
        "score_seconds": time.perf_counter() - fitted,
    }


# tables


def figures(part: dict[str, Any], name: str) -> list[float]:
    """Return the AUROC of each digit that was run."""
    return [line["auroc"] for line in part.get(name, {}).values()]


def table_of(part: dict[str, Any]) -> str:
    """Return the figures of a task, by contestant and digit."""
    digits = sorted({digit for lines in part.values() for digit in lines})
    rows = []
    for name in (name for name in CONTESTANTS if name in part):
        values = figures(part, name)
        each = (part[name].get(digit) for digit in digits)
        rows.append(
            [
                name,
                f"{np.mean(values):.4f}",
                f"{min(values):.4f}",
                *(line and f"{line['auroc']:.3f}" for line in each),
                f"{np.mean([line['seconds'] for line in part[name].values()]):.0f}",
            ]
        )
    columns = ["", "mean", "least", *digits, "seconds of fit"]
    return table(columns, rows)


def margins(
    part: dict[str, Any], ours: Any, peers: Any, kind: str = "peer"
) -> list[str]:
    """Return what each of ours has over the best peer of each digit, in the mean."""
    found = []
    for name in (name for name in ours if name in part):
        gains = []
        for digit, line in part[name].items():
            others = [
                part[p][digit]["auroc"] for p in peers if digit in part.get(p, {})
            ]
            if others:
                gains.append(line["auroc"] - max(others))
        if gains:
            text = f"mean {np.mean(gains):+.3f}, least {min(gains):+.3f}"
            found.append(f"- {name}, over the best {kind} of each digit: {text}.")
    return found


def report(file: str, found: dict[str, Any], tune: bool) -> None:
    kind = "tuning" if tune else "test"
    lines = ["# Digits of another kind", ""]
    if part := found.get(ONE):
        lines += [
            f"One digit normal, the other nine outliers: AUROC of the {kind} images, "
            f"by the normal digit. Wanted: a mean of {WANTED_MEAN}, and "
            f"{WANTED_LEAST} for every digit.",
            "",
            table_of(part),
            "",
            *margins(part, OURS, PEERS),
            "",
        ]
    if part := found.get(NINE):
        lines += [
            f"Nine digits normal, one left out: AUROC of the {kind} images, by the "
            f"digit left out. Wanted: {WANTED_MARGIN} over the best peer.",
            "",
            table_of(part),
            "",
            *margins(part, OURS, PEERS),
            *margins(part, OURS_LABELLED, PEERS, "peer without labels"),
            *margins(part, OURS_LABELLED, PEERS_LABELLED, "peer with labels"),
        ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


def main() -> None:
    """Run digit by digit, and store each line before the next."""
    parser = options_for(__doc__, CONTESTANTS)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS])
    parser.add_argument("--digits", nargs="+", type=int, default=[*range(10)])
    parser.add_argument("--tune", action="store_true", help="never the test images")
    parser.add_argument("--threads", type=int, help="as many as torch takes by default")
    options = parser.parse_args()
    use_threads(options.threads)
    start = time.perf_counter()
    splits = mnist_splits(options.data)
    images, labels = splits.X_test, splits.y_test
    if options.tune:
        images, labels = splits.X_tuning, splits.y_tuning
    if options.quick:
        images, labels = images[:1000], labels[:1000]
    name = "one_class_tune" if options.tune else "one_class"
    file = file_name(name, options.quick)
    for task in options.tasks:
        for digit in options.digits[: 1 if options.quick else None]:
            run = rows_of(splits, task, digit, options.quick)
            normal = is_normal(labels, task, digit)
            for contestant in options.only or CONTESTANTS:
                if task == ONE and contestant in LABELLED:
                    continue
                line = measure(CONTESTANTS[contestant], run, images, normal)
                print(f"{task}, {digit}, {contestant}: {line}", flush=True)
                merge(file, {task: {contestant: {str(digit): line}}})
    report(file, load(file), options.tune)
    print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
