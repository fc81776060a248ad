"""Does training with a constraint ever diverge at default settings?

Four models with a constraint and nothing else set, on five data sets: digits, 1,000 and
5,000 images of MNIST, 3,000 photographs of CIFAR-10 in grey, and breast cancer, 30
columns in units of their own. A run ends after some seconds at most. It has diverged
where `fit` raises TrainingDivergedError, or where a draw is not finite.

- "MahalanobisGenerator()", whose constraint is a default.
- "AutoencoderManifold", "LatentGAN", "LatentFlowMatching", each with
  ``constraint=MahalanobisConstraint()``, on the rows as they are.

The share beyond epsilon is that of 2,000 fresh draws, of the autoencoder that of the
reconstructions of held-out rows, and beside it that of held-out rows themselves, a
quarter of the data or 1,000. "not reached" is the warning that no epoch kept it.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from _extractors import Rows
from _judging import use_threads
from _maps import file_name, options_for
from _timing import load, merge, table, write_text
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from manifoldgen import (
    AutoencoderManifold,
    LatentFlowMatching,
    LatentGAN,
    MahalanobisConstraint,
    MahalanobisGenerator,
)
from manifoldgen.datasets import load_cifar10, load_digits, load_mnist
from manifoldgen.exceptions import ConstraintWarning, TrainingDivergedError

SECONDS = 30.0
N_DRAWN, N_HELD = 2000, 1000
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as television takes them
MODELS: dict[str, Callable[..., Any]] = {
    "MahalanobisGenerator": MahalanobisGenerator,
    "AutoencoderManifold": AutoencoderManifold,
    "LatentGAN": LatentGAN,
    "LatentFlowMatching": LatentFlowMatching,
}


class Parts(NamedTuple):
    """Rows to learn from, and rows held out."""

    X: Rows
    X_held: Rows


def split(X: Any) -> Parts:
    held = min(N_HELD, len(X) // 4)
    X, X_held = train_test_split(X.astype(np.float32), test_size=held, random_state=0)
    return Parts(X, X_held)


def mnist(data: str | None, n: int) -> Parts:
    images = load_mnist(data)
    rows, held = (it.reshape(len(it), -1) for it in (images.X_train, images.X_test))
    return Parts(*(it.astype(np.float32) / 255 for it in (rows[:n], held[:N_HELD])))


def grey_photographs(data: str | None) -> Parts:
    pixels = load_cifar10(data).X_train[:4000].reshape(-1, 3, 1024)
    return split(np.einsum("ncp,c->np", pixels, LUMA) / 255)


DATA: dict[str, Callable[[str | None], Parts]] = {
    "digits": lambda data: split(load_digits().X / 16),
    "MNIST, 1,000 rows": lambda data: mnist(data, 1000),
    "MNIST, 5,000 rows": lambda data: mnist(data, 5000),
    "CIFAR-10, grey": grey_photographs,
    "breast cancer": lambda data: split(load_breast_cancer().data),
}


def new_model(name: str, seconds: float) -> Any:
    """Return a model of default settings, which stops after some seconds."""
    own = (
        {}
        if name == "MahalanobisGenerator"
        else {"constraint": MahalanobisConstraint()}
    )
    return MODELS[name](max_time=seconds, random_state=0, **own)


def trained(name: str, parts: Parts, seconds: float) -> dict[str, Any]:
    """Fit a model, and return what became of it."""
    model = new_model(name, seconds)
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model.fit(parts.X)
    except TrainingDivergedError as error:
        return {"diverged": True, "error": str(error)}
    found = {"seconds": time.perf_counter() - start, "epochs": model.n_epochs_}
    if hasattr(model, "sample"):
        made = model.sample(N_DRAWN, random_state=1)
    else:
        made = model.inverse_transform(model.transform(parts.X_held))
    held = model.constraint_
    return found | {
        "diverged": not np.isfinite(made).all(),
        "not reached": any(issubclass(it.category, ConstraintWarning) for it in said),
        "target": held.tolerance_,
        "violation": held.violation_rate(made),
        "real_violation": held.violation_rate(parts.X_held),
        "multiplier": held.multiplier_,
        "threads": torch.get_num_threads(),
    }


def row_of(data: str, name: str, found: dict[str, Any]) -> list[Any]:
    if "error" in found:
        return [data, name, "yes", *[None] * 7]
    shares = [100 * found[it] for it in ("target", "violation", "real_violation")]
    return [
        data,
        name,
        "yes" if found["diverged"] else "no",
        f"{shares[0]:.0f}",
        *(f"{share:.1f}" for share in shares[1:]),
        "not reached" if found["not reached"] else None,
        f"{found['multiplier']:.2f}",
        found["epochs"],
        f"{found['seconds']:.0f}",
    ]


def report(file: str, found: dict[str, Any]) -> None:
    runs = [
        (data, name, found["runs"][data][name])
        for data in DATA
        for name in MODELS
        if name in found["runs"].get(data, {})
    ]
    n_diverged = sum(it["diverged"] for _, _, it in runs)
    columns = ["data", "model", "diverged", "asked, %", "beyond epsilon, %"]
    columns += ["held-out rows beyond, %", "", "multiplier", "epochs", "s"]
    lines = [
        "# Constrained training at default settings",
        "",
        f"{n_diverged} of {len(runs)} runs diverged. At most {found['seconds']:g} "
        f"seconds each, {torch.get_num_threads()} threads.",
        "",
        table(columns, [row_of(*it) for it in runs]),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


def options() -> argparse.Namespace:
    parser = options_for(__doc__, DATA)
    parser.add_argument("--threads", type=int, help="as many as torch takes by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each run")
    return parser.parse_args()


def main() -> None:
    """Run model by model, and store each run before the next."""
    asked = options()
    use_threads(asked.threads)
    seconds = 1.0 if asked.quick else asked.seconds
    file = file_name("constraint_runs", asked.quick)
    for data in asked.only or DATA:
        parts = DATA[data](asked.data)
        if asked.quick:
            parts = Parts(*(rows[:500] for rows in parts))
        for name in MODELS:
            found = trained(name, parts, seconds)
            print(f"{data}, {name}: {found}", flush=True)
            merge(file, {"seconds": seconds, "runs": {data: {name: found}}})
    report(file, load(file))


if __name__ == "__main__":
    main()
