"""A generator held within a distance: does the multiplier find what a sweep would?

MahalanobisGenerator makes MNIST images for features of a classifier of digits that was
trained on other images (see `_constrained.py`), and distances are those to the nearest
digit in them: a sample between two digits is far from both. Epsilon is the 95 % and the
80 % quantile of the distances of real images, and the target the share of them beyond
it, 5 % and 20 %. Where the model without a constraint is beyond epsilon less than twice
as often as the target, epsilon is the next tighter quantile, in steps of 5 %, at which
it is, and the target stays.

- "unconstrained": the same model, with ``multiplier=0.0``.
- "constrained": ``MahalanobisConstraint(two_sided=True, class_conditional=True)``, its
  multiplier found in the one fit.
- "penalty": the multiplier held at one of eight weights from 0.001 to 10,000.
- "rejection": the unconstrained model, of whose draws those beyond epsilon are thrown
  away. No other line rejects anything.

Distances are those of 20,000 fresh draws, in the moments that the model learned; the
5,000 that are judged are set beside as many test images in the features of three
classifiers that saw neither. Wanted: at most the target and .5 points beyond epsilon,
a Kolmogorov-Smirnov distance of at most .1 to the distances of held-out images within
epsilon, and a coverage at most .05 below the unconstrained one. Of the penalties we
count those that keep share and coverage. `--tune` judges by the last 10,000 training
images and writes to other files.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from _constrained import (
    FRESH,
    N_FRESH,
    Level,
    at_level,
    features_for,
    forget_fits,
    judges,
    kept_fit,
    run_of_rest,
)
from _extractors import SEEDS, mnist_splits
from _generator_tables import REAL, gathered, middle
from _judging import Line, Run, judge, judge_real, timed, use_threads
from _maps import file_name, options_for
from _timing import load, merge, table, write_text
from numpy.typing import NDArray

from manifoldgen import LatentMixture, MahalanobisConstraint, MahalanobisGenerator

EPOCHS = 12
MODEL: dict[str, Any] = {
    "n_components": 16,
    "likelihood": "bernoulli",
    "feature_law": LatentMixture(30),
    "feature_weight": 0.5,  # .1 covers less, with a constraint and without
    "max_epochs": EPOCHS,
    "patience": None,
}
TARGETS = {"95 %": 0.05, "80 %": 0.2}  # by level; epsilon begins at this quantile
STEP = 0.05
MULTIPLIERS = np.logspace(-3, 4, 8)
SLACK, MOST_GAP, MOST_LOST = 0.005, 0.1, 0.05
UNCONSTRAINED = "unconstrained"


class Contestant(NamedTuple):
    """A line, its level if it has one, and the model that its distances are of."""

    line: Line
    levels: dict[str, Level]
    model: MahalanobisGenerator
    more: dict[str, Any]


# contestants


def new_model(
    run: Run, features: Any, level: Level | None, multiplier: float | None
) -> MahalanobisGenerator:
    """Return an unfitted model, its multiplier learned where it is None."""
    constraint = MahalanobisConstraint(
        two_sided=True, class_conditional=True, multiplier=multiplier
    )
    if level is not None:
        constraint.set_params(epsilon=level.quantile, tolerance=level.target)
    model = MahalanobisGenerator(
        features=features, constraint=constraint, random_state=run.seed, **MODEL
    )
    return model.set_params(max_epochs=max(2, round(run.share * EPOCHS)))


def free_model(run: Run, features: Any) -> tuple[MahalanobisGenerator, float]:
    """Return the unconstrained model and its seconds."""
    return kept_fit(new_model(run, features, None, 0.0), run.X, run.y)


def levels_for(model: MahalanobisGenerator, run: Run) -> dict[str, Level]:
    """Return the levels, as tight as the unconstrained model makes them."""
    made = model.constraint_.distances(fresh_draws(drawing(model), run))
    return {name: tight(model, made, target) for name, target in TARGETS.items()}


def tight(model: MahalanobisGenerator, made: NDArray[Any], target: float) -> Level:
    """Return the widest level at which draws are beyond it twice as often as asked."""
    known = model.constraint_.calibration_distances_
    for quantile in np.arange(1.0 - target, STEP / 2, -STEP):
        if np.mean(made > np.quantile(known, quantile)) >= 2 * target:
            break
    return Level(target, round(float(quantile), 2))


def fresh_draws(draw: Callable[[Any, int], NDArray[Any]], run: Run) -> NDArray[Any]:
    """Return draws that nothing else is drawn with: few where a script is tried."""
    return draw(N_FRESH if run.share == 1.0 else 2000, run.seed + FRESH)


def drawing(model: MahalanobisGenerator) -> Callable[[Any, int], NDArray[Any]]:
    return lambda n, seed: model.sample(n, random_state=seed)


def unconstrained(run: Run, features: Any) -> Iterator[Contestant]:
    model, seconds = free_model(run, features)
    line = Line(UNCONSTRAINED, drawing(model), {"model": seconds})
    yield Contestant(line, levels_for(model, run), model, {})


def held(
    run: Run, features: Any, name: str, multiplier: float | None
) -> Iterator[Contestant]:
    """Fit a model of each level, at one multiplier or one that is learned."""
    levels = levels_for(free_model(run, features)[0], run)
    for of, level in levels.items():
        model = new_model(run, features, level, multiplier)
        _, seconds = timed(model.fit, run.X, run.y)
        line = Line(f"{name}, {of}", drawing(model), {"model": seconds})
        more = {
            "multiplier": model.multiplier_,
            "best_epoch": model.best_epoch_,
            "epochs": model.n_epochs_,
        }
        yield Contestant(line, {of: level}, model, more)


def constrained(run: Run, features: Any) -> Iterator[Contestant]:
    yield from held(run, features, "constrained", None)


def penalties(run: Run, features: Any) -> Iterator[Contestant]:
    for multiplier in MULTIPLIERS[::7] if run.share < 1.0 else MULTIPLIERS:
        yield from held(run, features, f"penalty {multiplier:g}", float(multiplier))


class Rejecting:
    """Draws of a model of which those beyond epsilon are thrown away."""

    def __init__(self, model: MahalanobisGenerator, epsilon: float) -> None:
        self.model, self.epsilon = model, epsilon
        self.n_drawn = self.n_kept = 0

    def __call__(self, n: int, seed: int) -> NDArray[Any]:
        rng = np.random.RandomState(seed)
        kept: list[NDArray[Any]] = []
        while sum(map(len, kept)) < n:
            rows = self.model.sample(n, random_state=rng)
            near = self.model.constraint_.distances(rows) <= self.epsilon
            kept.append(rows[near])
            self.n_drawn, self.n_kept = self.n_drawn + n, self.n_kept + near.sum()
        return np.concatenate(kept)[:n]


def rejection(run: Run, features: Any) -> Iterator[Contestant]:
    model, seconds = free_model(run, features)
    for of, level in levels_for(model, run).items():
        draw = Rejecting(model, epsilon_of(model, level))
        fresh_draws(draw, run)
        line = Line(f"rejection, {of}", draw, {"model": seconds})
        more = {"draws_per_row": float(draw.n_drawn / draw.n_kept)}
        yield Contestant(line, {of: level}, model, more)


CONTESTANTS: dict[str, Callable[[Run, Any], Iterator[Contestant]]] = {
    UNCONSTRAINED: unconstrained,
    "constrained": constrained,
    "rejection": rejection,
    "penalties": penalties,
}


# figures


def epsilon_of(model: MahalanobisGenerator, level: Level) -> float:
    """Return the epsilon of a level; the seed makes it that of every other model."""
    known = model.constraint_.calibration_distances_
    return float(np.quantile(known, level.quantile))


def judged(it: Contestant, run: Run, extractors: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a contestant: of its samples, and of their distances."""
    found = judge(it.line, run, extractors, "constraint_samples") | it.more
    made = it.model.constraint_.distances(fresh_draws(it.line.draw, run))
    real = it.model.constraint_.distances(run.held_out)
    found["levels"] = {
        name: level._asdict() | at_level(made, real, epsilon_of(it.model, level))
        for name, level in it.levels.items()
    }
    return found


def real_figures(run: Run, features: Any, extractors: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of images that models are fitted on."""
    model, _ = free_model(run, features)
    levels = levels_for(model, run)
    made, real = map(model.constraint_.distances, (run.X, run.held_out))
    found = judge_real(run, extractors)
    found["levels"] = {
        name: level._asdict() | at_level(made, real, epsilon_of(model, level))
        for name, level in levels.items()
    }
    return found


# the table


def at(runs: dict[str, Any], line: str, of: str, name: str) -> list[float]:
    """Return a figure of the distances of a line at a level, over seeds."""
    lines = [run[line] for run in runs.values() if line in run]
    return [it["levels"][of][name] for it in lines if of in it["levels"]]


def coverage_lost(runs: dict[str, Any], line: str) -> list[float]:
    """Return by how much coverage is below the unconstrained one: seed by seed."""
    return [
        run[UNCONSTRAINED]["extractors"][seed]["coverage"] - it["coverage"]
        for run in runs.values()
        if {line, UNCONSTRAINED} <= run.keys()
        for seed, it in run[line]["extractors"].items()
    ]


def verdicts(runs: dict[str, Any], line: str, of: str) -> dict[str, bool]:
    """Return which of the wanted figures a line has: medians over seeds and judges."""
    violation = np.median(at(runs, line, of, "violation"))
    target = np.median(at(runs, line, of, "target"))
    lost = coverage_lost(runs, line)
    return {
        "share": bool(violation <= target + SLACK),
        "law": bool(np.median(at(runs, line, of, "ks_inside")) <= MOST_GAP),
        "coverage": bool(lost and np.median(lost) <= MOST_LOST),
    }


def lines_at(runs: dict[str, Any], of: str) -> list[str]:
    """Return the names of the lines of a level: those that have several first."""
    known = {line: None for run in runs.values() for line in run}
    mine = [line for line in known if at(runs, line, of, "violation")]
    order = [REAL, UNCONSTRAINED, "constrained", "rejection", "penalty"]

    def place(line: str) -> tuple[int, float]:
        start = next(n for n, name in enumerate(order) if line.startswith(name))
        words = line.split(",")[0].split()
        return start, float(words[1]) if start == 4 else 0.0

    return sorted(mine, key=place)


def row_of(runs: dict[str, Any], line: str, of: str) -> list[Any]:
    mine = [run[line] for run in runs.values() if line in run]
    asked = line not in (REAL, UNCONSTRAINED)
    kept = verdicts(runs, line, of) if asked else {}

    def own(name: str, digits: int) -> str | None:
        return middle([it[name] for it in mine if name in it], digits)

    shares = [100 * it for it in at(runs, line, of, "violation")]
    return [
        line.split(",")[0],
        middle(shares, 2),
        *(middle(at(runs, line, of, name), 3) for name in ("ks_inside", "ks")),
        middle(gathered(runs, line, "coverage"), 3),
        middle(coverage_lost(runs, line), 3) if asked else None,
        middle(gathered(runs, line, "frechet"), 1),
        own("multiplier", 3),
        own("draws_per_row", 2),
        middle([sum(it["seconds"].values()) for it in mine if "seconds" in it], 0),
        ", ".join(name for name, it in kept.items() if it) if asked else None,
    ]


def part_of(runs: dict[str, Any], of: str) -> list[str]:
    """Return the lines of the report on one level."""
    lines = lines_at(runs, of)
    (target,) = {*at(runs, lines[0], of, "target")}
    quantiles = sorted({*at(runs, lines[0], of, "quantile")})
    columns = ["", "beyond epsilon, %", "KS within epsilon", "KS", "coverage"]
    columns += ["coverage lost", "Fréchet", "multiplier", "draws a row", "fit, s"]
    found = [
        f"## Begun at the {of} quantile: at most {100 * target:g} % beyond epsilon",
        "",
        f"Epsilon is the {' or '.join(f'{100 * it:g} %' for it in quantiles)} quantile "
        "of real images: the first at which the unconstrained model is beyond it twice "
        "as often as the target.",
        "",
        table([*columns, "keeps"], [row_of(runs, line, of) for line in lines]),
    ]
    swept = [verdicts(runs, line, of) for line in lines if line.startswith("penalty")]
    if swept:
        both = sum(it["share"] and it["coverage"] for it in swept)
        every = sum(all(it.values()) for it in swept)
        found += [
            "",
            f"Of {len(swept)} penalties {both} keep share and coverage, {every} the "
            "law of distances too.",
        ]
    return [*found, ""]


def report(file: str, found: dict[str, Any], tune: bool) -> None:
    runs = found["runs"]
    threads = sorted(
        {
            it["threads"]
            for run in runs.values()
            for it in run.values()
            if "threads" in it
        }
    )
    lines = [
        "# A generator held within a distance",
        "",
        f"{N_FRESH:,} fresh draws, and samples beside the "
        f"{'tuning' if tune else 'test'} images in the features of {len(SEEDS)} "
        f"classifiers; seeds {', '.join(runs)}; {EPOCHS} epochs on "
        f"{' or '.join(map(str, threads))} threads. Medians, with the range over seeds "
        "and classifiers. KS: Kolmogorov-Smirnov distance of the distances of samples "
        "to those of held-out images within epsilon; of samples within epsilon, and of "
        "all of them.",
        "",
        *(line for of in TARGETS for line in part_of(runs, of)),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines).rstrip())


def main() -> None:
    """Run line by line, and store each before the next."""
    parser = options_for(__doc__, [REAL, *CONTESTANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tune", action="store_true", help="never the test images")
    parser.add_argument("--threads", type=int, help="as many as torch takes by default")
    parser.add_argument("--fresh", action="store_true", help="fit again what is kept")
    options = parser.parse_args()
    use_threads(options.threads)
    if options.fresh:
        forget_fits()
    name = "constraint_tune" if options.tune else "constraint"
    file = file_name(name, options.quick)
    splits = mnist_splits(options.data)
    extractors, features = judges(splits), features_for(splits, options.quick)
    print(f"{torch.get_num_threads()} threads", flush=True)
    for seed in options.seeds:
        run = run_of_rest(splits, seed, options.tune, options.quick)
        for name in options.only or [REAL, *CONTESTANTS]:
            if name == REAL:
                found = real_figures(run, features, extractors)
                merge(file, {"runs": {str(seed): {name: found}}})
                continue
            for it in CONTESTANTS[name](run, features):
                found = judged(it, run, extractors)
                print(f"seed {seed}, {it.line.name}: {found}", flush=True)
                merge(file, {"runs": {str(seed): {it.line.name: found}}})
    report(file, load(file), options.tune)


if __name__ == "__main__":
    main()
