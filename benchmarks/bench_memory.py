"""Peak memory above imports and data, each contestant in a process of its own.

One epoch on MNIST as it is stored (60,000 x 784 uint8), and precision to coverage of
5,000 against 5,000 rows.
"""

import argparse
import logging
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
from _timing import write
from bench_training import bare_loop, pythae, skorch

from manifoldgen import AutoencoderManifold, precision_recall_density_coverage
from manifoldgen.datasets import load_mnist

SIZES = (784, 512, 256, 32)


def as_float(X: np.ndarray) -> np.ndarray:
    """Return what the peers take: float32 in [0, 1]."""
    return (X / np.float32(255)).astype(np.float32)


def fit_ours(X: np.ndarray) -> None:
    """Fit on uint8 rows: they stay uint8 until a batch is on the device."""
    AutoencoderManifold(
        SIZES[-1],
        hidden_sizes=SIZES[1:-1],
        image_shape=(1, 28, 28),
        activation="relu",
        batch_size=256,
        max_epochs=1,
        validation_fraction=0.0,
        random_state=0,
    ).fit(X)


def their_prdc(X: np.ndarray) -> None:
    """The package of the authors of density and coverage."""
    from prdc import compute_prdc

    compute_prdc(as_float(X[: len(X) // 12]), as_float(X[-len(X) // 12 :]), nearest_k=5)


CONTESTANTS: dict[str, Callable[[np.ndarray], object]] = {
    "fit: AutoencoderManifold": fit_ours,
    "fit: bare loop": lambda X: bare_loop(as_float(X), SIZES, 256, 1),
    "fit: skorch": lambda X: skorch(as_float(X), SIZES, 256, 1),
    "fit: pythae": lambda X: pythae(as_float(X), SIZES, 256, 1),
    "prdc: manifoldgen": lambda X: precision_recall_density_coverage(
        as_float(X[: len(X) // 12]), as_float(X[-len(X) // 12 :])
    ),
    "prdc: prdc 0.2": their_prdc,
}


def peak() -> float:
    """Return the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, data: str | None) -> None:
    """Print the peak that one contestant adds."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    X = load_mnist(data).X_train
    CONTESTANTS[name](X[:300])  # what a first call loads is no part of it
    before = peak()
    CONTESTANTS[name](X)
    print(f"RESULT {peak() - before:.1f}")


def main() -> None:
    """Run every contestant in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with mnist.npz")
    parser.add_argument("--only", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options.only, options.data)
        return
    found = {}
    for name in CONTESTANTS:
        command = [sys.executable, __file__, "--only", name]
        if options.data:
            command += ["--data", options.data]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = float(done.stdout.rsplit("RESULT", 1)[1])
        print(f"{name:28}{found[name]:10.1f} MB")
    write("memory", {"peak_megabytes_above_data": found})


if __name__ == "__main__":
    main()
