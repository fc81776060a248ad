"""What the benchmarks of constraints share: features, distances, and fits that stay.

MNIST as in `_extractors.py`. Of the 40,000 images for generators the first 10,000 train
a `ClassifierFeatures`, in whose features distances are measured; generators get the
others. The three classifiers that judge saw neither, and 5,000 test images are held
out.
"""

import hashlib
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from _extractors import CACHE, SEEDS, Extractor, Rows, Splits, extractor
from _judging import Run, run_of, timed
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.frozen import FrozenEstimator

from manifoldgen import ClassifierFeatures

N_FEATURES = 10_000  # images that the features are trained on
N_JUDGED = 5_000
N_FRESH = 20_000  # draws that distances are taken of: .15 points of error at 5 %
FRESH = 1000  # added to the seed of a fit: draws that nothing else is drawn with
FEATURES: dict[str, Any] = {
    "n_features": 32,
    "image_shape": (1, 28, 28),
    "channels": (8, 16),
    "random_state": 0,
}
Distances = NDArray[np.float64]
Draw = Callable[[int, int], NDArray[Any]]


class Level(NamedTuple):
    """How far is too far, and for how many."""

    target: float  # share of samples that may be beyond epsilon
    quantile: float  # epsilon, as a quantile of the distances of real images


def run_of_rest(splits: Splits, seed: int, tune: bool, quick: bool) -> Run:
    """Return the rows that no features are trained on, and fewer to judge by."""
    rest = splits._replace(X=splits.X[N_FEATURES:], y=splits.y[N_FEATURES:])
    run = run_of(rest, seed, tune, quick)
    held, labels = run.held_out[:N_JUDGED], run.y_held_out[:N_JUDGED]
    return run._replace(held_out=held, y_held_out=labels)


def judges(splits: Splits) -> dict[str, Extractor]:
    """Return the classifiers that judge, by seed."""
    return {str(seed): extractor(seed, lambda: splits) for seed in SEEDS}


def features_for(splits: Splits, quick: bool) -> FrozenEstimator:
    """Return fitted features, kept from an earlier run or new; say how good they are.

    They name the digits of the images that decisions are made by.
    """
    features = ClassifierFeatures(**FEATURES, max_epochs=2 if quick else None)
    n = 2000 if quick else N_FEATURES
    fitted, seconds = kept_fit(features, splits.X[:n], splits.y[:n])
    share = np.mean(fitted.predict(splits.X_tuning) == splits.y_tuning)
    print(f"features: {seconds:.0f} s, accuracy {share:.4f}", flush=True)
    return FrozenEstimator(fitted)


def kept_fit(estimator: Any, X: Rows, y: Any = None) -> tuple[Any, float]:
    """Return an estimator fitted on `X` and its seconds: of an earlier run, or new."""
    of_rows = X[:: max(1, len(X) // 100)].tobytes()
    key = repr((type(estimator), sorted(estimator.get_params().items()), len(X)))
    digest = hashlib.sha256(key.encode() + of_rows).hexdigest()[:16]
    path = CACHE / f"constraint_{digest}.pkl"
    if not path.exists():
        fitted = timed(estimator.fit, X, y)
        CACHE.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(fitted))
        part.replace(path)  # a run that is killed here leaves none
    return pickle.loads(path.read_bytes())  # we wrote it


def forget_fits() -> None:
    """Delete the fits that are kept."""
    for path in CACHE.glob("constraint_*.pkl"):
        path.unlink()


def at_level(made: Distances, real: Distances, epsilon: float) -> dict[str, float]:
    """Return how often samples are beyond epsilon, and the law of their distances.

    "ks" is Kolmogorov's and Smirnov's distance of the samples to held-out images that
    are within epsilon, "ks_inside" that of those samples that are within it too. They
    are the same for squared distances. A share beyond epsilon counts in the first.
    """
    near, near_real = made[made <= epsilon], real[real <= epsilon]
    return {
        "epsilon": float(epsilon),
        "violation": float(np.mean(made > epsilon)),
        "real_violation": float(np.mean(real > epsilon)),
        "ks": float(ks_2samp(made, near_real).statistic),
        "ks_inside": float(ks_2samp(near, near_real).statistic) if len(near) else 1.0,
    }
