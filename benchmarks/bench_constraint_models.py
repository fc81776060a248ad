"""`constraint=` of three models: does holding them cost anything else?

MNIST, each model with and without a constraint, three seeds. All are held to the 95 %
quantile of the distances of images, in the features of a classifier of digits that was
trained on other images (see `_constrained.py`), with the defaults of
MahalanobisConstraint.

- "AutoencoderManifold": reconstructions are held, and rows decoded from codes beside
  theirs. Samples come from a mixture of 20 Gaussians on the codes.
- "LatentGAN", "LatentFlowMatching": both learn the codes of one shared manifold, and
  are held by the features of what that decodes from them.

The figures are those of 5,000 samples beside as many test images, in the features of
three classifiers that saw neither; the share beyond epsilon is that of 20,000 fresh
draws, by one constraint that was fitted to what the model learned from. A model is
worse than noise with a constraint where its mean change over the seeds is for the worse
and larger than the range over the seeds without one. `--tune` judges by the last 10,000
training images and writes to other files.
"""

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import torch
from _constrained import (
    FRESH,
    N_FRESH,
    features_for,
    forget_fits,
    judges,
    kept_fit,
    run_of_rest,
)
from _extractors import SEEDS, Rows, mnist_splits
from _generator_tables import REAL, gathered, middle
from _judging import Line, Run, decoded, judge, judge_real, timed, use_threads
from _maps import file_name, options_for
from _timing import load, merge, table, write_text
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from torch import nn

import manifoldgen
from manifoldgen import AutoencoderManifold, MahalanobisConstraint
from manifoldgen.constraints import feature_module
from manifoldgen.nn.affine import Affine

MANIFOLD: dict[str, Any] = {
    "n_components": 16,
    "hidden_sizes": (256, 128),
    "learning_rate": 4e-3,
    "schedule": "one_cycle",
    "max_epochs": 15,
    "patience": None,
}
# what differs from the defaults, by class
GENERATORS: dict[str, dict[str, Any]] = {
    "LatentGAN": {"batch_size": 256, "max_epochs": 25},
    "LatentFlowMatching": {"batch_size": 256, "max_epochs": 25},
}
N_GAUSSIANS = 20
HELD = ", constrained"
BETTER = {"frechet": -1, "coverage": 1}  # the sign of a change for the better
FIGURES = ("frechet", "coverage", "precision", "recall")
COLUMNS = ["", "beyond epsilon, %", "Fréchet", *FIGURES[1:], "fit, s"]


class Decoded(TransformerMixin, BaseEstimator):
    """Features of the images that a fitted manifold decodes from codes.

    It has what a constraint asks for, a module that slopes go through, for manifolds of
    perceptrons with the squared error.
    """

    def __init__(self, manifold: AutoencoderManifold, features: Any) -> None:
        self.manifold = manifold
        self.features = features

    def fit(self, X: Any, y: Any = None) -> Self:
        return self

    def transform(self, X: Any) -> Any:
        return self.features.transform(self.manifold.inverse_transform(X))

    def to_module(self) -> nn.Module:
        manifold = self.manifold
        shift, scale = (
            torch.tensor(it, dtype=torch.float64)
            for it in (manifold.shift_, manifold.scale_)
        )
        to_pixels = Affine(torch.zeros_like(shift), scale, shift)
        decoder = Float32(manifold.decoder_)
        return nn.Sequential(decoder, to_pixels, feature_module(self.features))


class Float32(nn.Module):
    """A network that takes rows of any precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.network(rows.float())


# contestants


def shortened(estimator: Any, run: Run) -> Any:
    """Return an estimator with fewer epochs where a script is tried."""
    return estimator.set_params(max_epochs=max(2, round(run.share * epochs(estimator))))


def epochs(estimator: Any) -> int:
    return int(estimator.get_params()["max_epochs"])


def constraints(features: Any) -> dict[str, MahalanobisConstraint | None]:
    """Return none, and one, by what to add to the name of a line."""
    return {"": None, HELD: MahalanobisConstraint(features)}


def manifolds(name: str, run: Run, features: Any) -> Iterator[tuple[Line, float]]:
    """Fit manifolds, and a mixture on the codes of each."""
    measure = MahalanobisConstraint(features, random_state=run.seed).fit(run.X)
    for more, constraint in constraints(features).items():
        manifold = AutoencoderManifold(
            constraint=constraint, random_state=run.seed, **MANIFOLD
        )
        _, before = timed(shortened(manifold, run).fit, run.X)
        mixture = GaussianMixture(N_GAUSSIANS, random_state=run.seed)
        _, spent = timed(mixture.fit, manifold.transform(run.X))
        seconds = {"manifold": before, "generator": spent}
        line = decoded(name + more, manifold, mixture, seconds)
        yield line, beyond(measure, line.draw, run)


def generators(name: str, run: Run, features: Any) -> Iterator[tuple[Line, float]]:
    """Fit generators of the codes of a manifold that all seeds share."""
    manifold, before = shared_manifold(run)
    codes = manifold.transform(run.X)
    of_codes = FrozenEstimator(Decoded(manifold, features))
    check_decoded(of_codes, codes[:100])
    measure = MahalanobisConstraint(of_codes, random_state=run.seed).fit(codes)
    for more, constraint in constraints(of_codes).items():
        generator = getattr(manifoldgen, name)(
            constraint=constraint, random_state=run.seed, **GENERATORS[name]
        )
        _, spent = timed(shortened(generator, run).fit, codes)
        seconds = {"manifold": before, "generator": spent}
        line = decoded(name + more, manifold, generator, seconds)
        yield line, beyond(measure, generator_draws(generator), run)


def generator_draws(generator: Any) -> Callable[[int, int], Rows]:
    return lambda n, seed: generator.sample(n, random_state=seed)


def shared_manifold(run: Run) -> tuple[AutoencoderManifold, float]:
    """Return the manifold whose codes generators learn, kept from an earlier fit."""
    manifold = AutoencoderManifold(random_state=0, **MANIFOLD)
    return kept_fit(shortened(manifold, run), run.X)


def check_decoded(features: FrozenEstimator, codes: Rows) -> None:
    """Stop where the module of features is not what `transform` returns."""
    module = feature_module(features)
    with torch.no_grad():
        by_module = module(torch.from_numpy(codes)).numpy()
    if not np.allclose(by_module, features.transform(codes), rtol=1e-3, atol=1e-3):
        raise SystemExit("the module of decoded features is not their transform")


def beyond(
    measure: MahalanobisConstraint, draw: Callable[[int, int], Any], run: Run
) -> float:
    """Return the share of fresh draws beyond epsilon."""
    n = N_FRESH if run.share == 1.0 else 2000
    return measure.violation_rate(draw(n, run.seed + FRESH))


CONTESTANTS: dict[str, Callable[[str, Run, Any], Iterator[tuple[Line, float]]]] = {
    "AutoencoderManifold": manifolds,
    "LatentGAN": generators,
    "LatentFlowMatching": generators,
}


# the table


def by_seed(runs: dict[str, Any], line: str, name: str) -> dict[str, float]:
    """Return a figure of a line by seed, its median over the judges."""
    return {
        seed: float(np.median([it[name] for it in run[line]["extractors"].values()]))
        for seed, run in runs.items()
        if line in run
    }


def change(runs: dict[str, Any], line: str, name: str) -> tuple[float, float]:
    """Return the mean change by a constraint, and the range over seeds without one."""
    free, held = by_seed(runs, line, name), by_seed(runs, line + HELD, name)
    both = [seed for seed in free if seed in held]
    found = np.mean([held[seed] - free[seed] for seed in both])
    return float(found), max(free.values()) - min(free.values())


def row_of(runs: dict[str, Any], line: str) -> list[Any]:
    mine = [run[line] for run in runs.values() if line in run]
    shares = [100 * it["violation"] for it in mine if "violation" in it]
    seconds = [sum(it["seconds"].values()) for it in mine if "seconds" in it]
    return [
        line,
        middle(shares, 2),
        *(
            middle(gathered(runs, line, name), 1 if name == "frechet" else 3)
            for name in FIGURES
        ),
        middle(seconds, 0),
    ]


def changes_of(runs: dict[str, Any], line: str) -> list[Any]:
    cells: list[Any] = [line]
    for name, sign in BETTER.items():
        by, noise = change(runs, line, name)
        worse = sign * by < -noise
        cells += [f"{by:+.3f}", f"{noise:.3f}", "yes" if worse else "no"]
    return cells


def report(file: str, found: dict[str, Any], tune: bool) -> None:
    runs = found["runs"]
    known = {line for run in runs.values() for line in run}
    order = [REAL, *(name + more for name in CONTESTANTS for more in ("", HELD))]
    paired = [name for name in CONTESTANTS if {name, name + HELD} <= known]
    heads = [f"{name}: change" for name in ("Fréchet", "coverage")]
    columns = [it for head in heads for it in (head, "range over seeds", "worse")]
    lines = [
        "# Models with a constraint and without",
        "",
        "At most 5 % of the samples should be beyond the 95 % quantile of real images. "
        f"Samples beside the {'tuning' if tune else 'test'} images in the features of "
        f"{len(SEEDS)} classifiers; seeds {', '.join(runs)}; "
        f"{torch.get_num_threads()} threads. Medians, with the range over seeds and "
        "classifiers.",
        "",
        table(COLUMNS, [row_of(runs, line) for line in order if line in known]),
        "",
        "What the constraint changes, seed by seed, beside what a seed changes:",
        "",
        table(["", *columns], [changes_of(runs, line) for line in paired]),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


def main() -> None:
    """Run seed by seed and line by line, and store each line before the next."""
    parser = options_for(__doc__, [REAL, *CONTESTANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tune", action="store_true", help="never the test images")
    parser.add_argument("--threads", type=int, help="as many as torch takes by default")
    parser.add_argument("--fresh", action="store_true", help="fit again what is kept")
    options = parser.parse_args()
    use_threads(options.threads)
    if options.fresh:
        forget_fits()
    name = "constraint_models_tune" if options.tune else "constraint_models"
    file = file_name(name, options.quick)
    splits = mnist_splits(options.data)
    extractors, features = judges(splits), features_for(splits, options.quick)
    for seed in options.seeds:
        run = run_of_rest(splits, seed, options.tune, options.quick)
        for name in options.only or [REAL, *CONTESTANTS]:
            if name == REAL:
                merge(file, {"runs": {str(seed): {name: judge_real(run, extractors)}}})
                continue
            for line, violation in CONTESTANTS[name](name, run, features):
                found = judge(line, run, extractors, "constraint_samples")
                found["violation"] = violation
                print(f"seed {seed}, {line.name}: {found}", flush=True)
                merge(file, {"runs": {str(seed): {line.name: found}}})
    report(file, load(file), options.tune)


if __name__ == "__main__":
    main()
