"""What the benchmarks of generators of images share: how contestants are judged.

10,000 samples (of MNIST) are set beside as many held-out images in the features of
classifiers that were trained on rows no generator sees. Samples are rounded to bytes,
as the images are.
"""

import hashlib
import os
import pickle
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from _extractors import CACHE, Extractor, Labels, Rows, Splits, accuracy
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from manifoldgen import (
    AutoencoderManifold,
    precision_recall_density_coverage,
    sample_from,
)
from manifoldgen.metrics import frechet_distance

# the manifold of the baseline of MNIST
MLP_16: dict[str, Any] = {
    "n_components": 16,
    "hidden_sizes": (512, 256),
    "learning_rate": 4e-3,
    "schedule": "one_cycle",
    "max_epochs": 30,
    "patience": None,
    "precision": "bf16",
    "max_time": 60.0,
}


class Run(NamedTuple):
    """What every contestant gets."""

    X: Rows
    y: Labels
    held_out: Rows
    y_held_out: Labels
    seed: int
    share: float  # of each budget: less than 1 to try the script out


class Line(NamedTuple):
    """A line of the table: what draws, and the seconds that it took to get there.

    A conditional one is drawn with labels, `draw(labels, seed)`, others with a number.
    """

    name: str
    draw: Callable[[Any, int], NDArray[Any]]
    seconds: dict[str, float]
    reconstruct: Callable[[Rows], NDArray[Any]] | None = None  # None: no encoder
    conditional: bool = False


def run_of(splits: Splits, seed: int, tune: bool, quick: bool) -> Run:
    """Return the rows to fit and to judge by: those for decisions where `tune`."""
    held, labels = splits.X_test, splits.y_test
    if tune:
        held, labels = splits.X_tuning, splits.y_tuning
    n, n_held = (4000, 1000) if quick else (None, None)
    share = 0.03 if quick else 1.0
    return Run(splits.X[:n], splits.y[:n], held[:n_held], labels[:n_held], seed, share)


def use_threads(n_threads: int | None) -> None:
    """Compute on so many threads from here on; None leaves it to the environment."""
    if n_threads is not None:
        torch.set_num_threads(n_threads)
        threadpool_limits(n_threads)


# figures


def figures(
    samples: Rows, held_out: Rows, features: Extractor, labels: Labels | None = None
) -> dict[str, Any]:
    """Return the figures of samples in the space of one extractor.

    `labels` are what the samples were asked to be. Shares are of the classes among the
    samples, as the classifier names them, over those among the held-out images.
    """
    generated, real = features(samples), features(held_out)
    named = features.predict(samples)
    of_real = np.bincount(features.predict(held_out), minlength=10) / len(held_out)
    shares = np.bincount(named, minlength=10) / len(samples) / of_real
    prdc = precision_recall_density_coverage(real, generated, n_neighbors=5)
    found = {
        "frechet": float(frechet_distance(real, generated)),
        **prdc._asdict(),
        "class_shares": [float(share) for share in shares],
    }
    if labels is not None:
        found["label_agreement"] = float(np.mean(named == labels))
    return found


def as_pixels(samples: NDArray[np.uint8]) -> Rows:
    return samples.astype(np.float32) / 255


def as_bytes(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels as images store them."""
    pixels = np.asarray(samples).reshape(len(samples), -1)
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)


def judge(
    line: Line, run: Run, extractors: dict[str, Extractor], folder: str = "samples"
) -> dict[str, Any]:
    """Draw as many rows as are held out, keep them, and return their figures."""
    asked = run.y_held_out if line.conditional else len(run.held_out)
    line.draw(asked[:100] if line.conditional else 100, run.seed)  # a first, slow call
    drawn, seconds = timed(line.draw, asked, run.seed)
    if len(drawn) != len(run.held_out):
        raise SystemExit(f"{line.name} drew {len(drawn)} rows for {len(run.held_out)}")
    samples = as_bytes(drawn)
    if run.share == 1.0:
        keep_samples(line.name, run, samples, folder)
    labels = run.y_held_out if line.conditional else None
    found = {
        "seconds": line.seconds,
        "sample_seconds": seconds,
        "load": os.getloadavg()[0],  # seconds on a busy machine are worth less
        "threads": torch.get_num_threads(),
        "extractors": {
            seed: figures(as_pixels(samples), run.held_out, features, labels)
            for seed, features in extractors.items()
        },
    }
    if line.reconstruct is not None:
        back = line.reconstruct(run.held_out).reshape(run.held_out.shape)
        found["squared_error"] = float(np.mean((back - run.held_out) ** 2))
        pixels = as_pixels(as_bytes(back))
        for seed, features in extractors.items():
            found["extractors"][seed]["reconstruction"] = float(
                frechet_distance(features(run.held_out), features(pixels))
            )
    return found


def judge_real(run: Run, extractors: dict[str, Extractor]) -> dict[str, Any]:
    """Return the figures of images that generators are fitted on."""
    rng = np.random.default_rng(run.seed)
    some = run.X[rng.permutation(len(run.X))[: len(run.held_out)]]
    return {
        "extractors": {
            seed: figures(some, run.held_out, features)
            | {"accuracy": accuracy(features, run.held_out, run.y_held_out)}
            for seed, features in extractors.items()
        }
    }


def keep_samples(name: str, run: Run, samples: NDArray[np.uint8], folder: str) -> None:
    path = CACHE / f"{folder}_{run.seed}"
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / f"{name}.npy", samples)


# contestants


def timed(call: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call(*args)
    return result, time.perf_counter() - start


def kept_manifold(
    run: Run, parameters: dict[str, Any]
) -> tuple[AutoencoderManifold, float]:
    """Return a fitted manifold and its seconds: kept from an earlier run, or new."""
    manifold = AutoencoderManifold(random_state=run.seed, **parameters)
    manifold.set_params(max_time=run.share * manifold.max_time)
    key = repr((sorted(manifold.get_params().items()), len(run.X)))
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = CACHE / f"manifold_{digest}.pkl"
    if not path.exists():
        fitted = timed(manifold.fit, run.X)
        CACHE.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(fitted))
    return pickle.loads(path.read_bytes())  # we wrote it


def decoded(
    name: str,
    manifold: Any,
    generator: Any,
    seconds: dict[str, float],
    conditional: bool = False,
    **parameters: Any,
) -> Line:
    """Return the line of a generator of latents; `parameters` are those of drawing."""

    def draw(asked: Any, seed: int) -> NDArray[Any]:
        if parameters:
            generator.set_params(**parameters)
        how = {"y": asked} if conditional else {"n_samples": asked}
        latents = sample_from(generator, **how, random_state=seed)
        return manifold.inverse_transform(latents.astype(np.float32))

    return Line(name, draw, seconds, partial(reconstructed, manifold), conditional)


def reconstructed(model: Any, X: Rows) -> NDArray[Any]:
    return model.inverse_transform(model.transform(X))


def baseline(name: str, run: Run, **parameters: Any) -> list[Line]:
    """Return an autoencoder of perceptrons, and a mixture of 50 Gaussians."""
    manifold, before = kept_manifold(run, MLP_16 | parameters)
    mixture = GaussianMixture(50, random_state=run.seed)
    mixture, seconds = timed(mixture.fit, manifold.transform(run.X))
    return [
        decoded(name, manifold, mixture, {"manifold": before, "generator": seconds})
    ]
