"""What the benchmarks of detection share: our default, outlier sets, scorers of peers.

The scorers of peers are written out here, on numpy and scikit-learn alone, as the
packages do it that have them: nothing of ours takes part in their figures. All of them
return numbers that are high for normal rows.
"""

import hashlib
import pickle
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from _extractors import CACHE, Labels, Rows
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional as F

from manifoldgen import MahalanobisScorer
from manifoldgen.datasets import load_cifar10

IMAGE_SHAPE = (1, 28, 28)
SIDE = 28
LUMA = (0.299, 0.587, 0.114)
N_OUTLIERS = 5000  # of each set, at most
SET_SEED = 7  # of noise and of shuffled pixels: one set for all networks
FAR = ("CIFAR-10 in grey", "inverted", "noise", "shuffled pixels")
LAST = "hidden1"
NETWORK: dict[str, Any] = {  # of ClassifierFeatures, of the size of LeNet
    "image_shape": IMAGE_SHAPE,
    "n_features": 128,
    "layers": ("conv1", "conv2", LAST, "output"),
    "pooling": "mean_std",
    "augment": {"rotate": 12.0, "scale": 0.12, "shift": 0.07},
    "max_epochs": 6,
    "device": "cpu",
}
Scores = NDArray[np.float64]
Scorer = Callable[[NDArray[Any]], Scores]


class Judged(NamedTuple):
    """Images of the classes that are normal, with their labels, and others."""

    normal: Rows
    labels: Labels
    outliers: dict[str, Rows]


class Choice(NamedTuple):
    """Layers of a network, and a scorer of their features."""

    layers: tuple[str, ...]
    parameters: dict[str, Any]
    by_layer: bool = False  # whether each layer has a distance of its own


# of rows whose classes are known: chosen by `bench_detection.py --tune`, where it is
# the second of ours, .15 below the first, which lacks conv2. Late layers keep what
# tells classes apart, and an image may be odd in what they lose.
DEFAULT = Choice(
    ("conv2", LAST, "output"),
    {"class_covariance": "full", "normalize": "l2"},
    by_layer=True,
)


# features and our scorer


def columns_of(network: Any, layers: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the places of the columns of some layers."""
    edges = np.cumsum([0, *network.group_lengths_])
    places = [network.layers_.index(layer) for layer in layers]
    return np.concatenate([np.arange(edges[k], edges[k + 1]) for k in places])


def of_choice(
    choice: Choice, network: Any, features: NDArray[np.float32], y: Labels
) -> Scorer:
    """Fit our scorer on the features that a network made of its training rows."""
    columns = columns_of(network, choice.layers)
    lengths = dict(zip(network.layers_, network.group_lengths_, strict=True))
    groups = [lengths[layer] for layer in choice.layers] if choice.by_layer else None
    scorer = MahalanobisScorer(
        class_conditional=True, groups=groups, random_state=0, **choice.parameters
    ).fit(features[:, columns], y)
    return lambda Q: scorer.score_samples(Q[:, columns])


# outliers


def far_sets(images: Rows, data: str | None = None) -> dict[str, Rows]:
    """Return images that are no digits, three of the four made of `images`."""
    rng = np.random.default_rng(SET_SEED)
    some = images[:N_OUTLIERS]
    noise = rng.random(some.shape, dtype=np.float32)
    sets = (grey_photographs(data), 1 - some, noise, rng.permuted(some, axis=1))
    return dict(zip(FAR, sets, strict=True))


def grey_photographs(data: str | None = None) -> Rows:
    """Return the test images of CIFAR-10 in grey and of the size of digits."""
    split = load_cifar10(data)
    colours = split.X_test[:N_OUTLIERS].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    grey = torch.from_numpy(np.tensordot(np.float32(LUMA), colours, (0, 1)))
    small = F.interpolate(grey[:, None], SIDE, mode="bilinear", antialias=True)
    return small.clamp(0, 1).reshape(len(small), -1).numpy()


def turned(images: Rows, labels: Labels, digits: Iterable[int]) -> Rows:
    """Return the images of these digits after a quarter turn."""
    chosen = images[np.isin(labels, [*digits])][:N_OUTLIERS]
    squares = chosen.reshape(-1, SIDE, SIDE)
    return np.rot90(squares, axes=(1, 2)).reshape(len(squares), -1).copy()


# peers


def plain_mahalanobis(X: NDArray[Any], y: Labels) -> Scorer:
    """Return minus the least squared distance from a class, by a pseudo-inverse.

    One covariance of the rows less the means of their classes, as Lee et al. (2018)
    have it and packages do it: `EmpiricalCovariance` of float32 rows.
    """
    classes, codes = np.unique(y, return_inverse=True)
    means = np.stack([X[codes == code].mean(axis=0) for code in range(len(classes))])
    tied = EmpiricalCovariance(assume_centered=True).fit(X - means[codes])

    def score(Q: NDArray[Any]) -> Scores:
        return -np.min([_squared(Q - mean, tied.precision_) for mean in means], axis=0)

    return score


def relative_mahalanobis(X: NDArray[Any], y: Labels) -> Scorer:
    """Return the score above plus the squared distance from all rows together."""
    plain = plain_mahalanobis(X, y)
    together = EmpiricalCovariance().fit(X)

    def score(Q: NDArray[Any]) -> Scores:
        return plain(Q) + _squared(Q - together.location_, together.precision_)

    return score


def nearest_rows(X: NDArray[Any], n_neighbors: int, unit: bool = False) -> Scorer:
    """Return minus the distance from the last of some nearest rows of `X`.

    With `unit` all rows have length 1 first.
    """
    prepare = of_unit_length if unit else np.asarray
    index = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute")
    index.fit(prepare(X))
    return lambda Q: -index.kneighbors(prepare(Q))[0][:, -1].astype(np.float64)


def of_unit_length(X: NDArray[Any]) -> NDArray[Any]:
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.maximum(lengths, np.finfo(X.dtype).tiny)


def _squared(centred: NDArray[Any], precision: NDArray[Any]) -> Scores:
    return np.einsum("ij,ij->i", centred @ precision, centred).astype(np.float64)


# figures


def auroc(normal: Scores, outliers: Scores) -> float:
    """Return the area under the ROC curve, of scores that are high for normal rows."""
    truth = np.r_[np.ones(len(normal)), np.zeros(len(outliers))]
    return float(roc_auc_score(truth, np.r_[normal, outliers]))


def kept_fit(estimator: Any, *rows: Any) -> tuple[Any, float]:
    """Return a fitted estimator and its seconds: kept from an earlier run, or new."""
    key = repr((type(estimator).__name__, sorted(estimator.get_params().items())))
    digest = hashlib.sha256(key.encode())
    for part in rows:
        digest.update(np.ascontiguousarray(part))
    path = CACHE / f"detection_{digest.hexdigest()[:16]}.pkl"
    if not path.exists():
        start = time.perf_counter()
        estimator.fit(*rows)
        fitted = estimator, time.perf_counter() - start
        CACHE.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(fitted))
        part.replace(path)  # a run that is killed here leaves none
    return pickle.loads(path.read_bytes())  # we wrote it


def percent(values: list[float]) -> str | None:
    """Return the mean with the range of values, x100, for a table."""
    if not values:
        return None
    figures = 100 * np.array(values)
    spread = f" ({figures.min():.2f} to {figures.max():.2f})" if len(values) > 1 else ""
    return f"{figures.mean():.2f}{spread}"
