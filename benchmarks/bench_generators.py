"""Generators of MNIST at fixed budgets, theirs and ours, in one run: how good are they?

10,000 samples of each beside the 10,000 test images, in the features of three small
classifiers that were trained on rows no generator sees (see `_extractors.py`); medians
over these three and over the seeds. R is the Fréchet distance over that of the baseline
of the same seed and extractor: an autoencoder of perceptrons, 60 s, and a mixture of 50
Gaussians. It is void unless that autoencoder is a good one.

Everyone is fitted on the same 40,000 images, ours in 6 minutes in all, manifold and
generator, and pythae's models and samplers in what LatentMixture takes, the quickest of
ours, which is the one to compare with. Ours share one manifold a seed, kept in
`benchmarks/cache`, as the samples are; its seconds count for each of them. Samples are
rounded to bytes, as the images are. `--tune` judges by the last 10,000 training images
in place of the test images, and writes to other files.

pythae's models are trained as long as they leave its sampler time: the mixture of 10
takes seconds, the flow gets a third. They have its default perceptrons, of which two
cores train some fifty epochs in the time; of the convolutions of its own benchmark, 17
million weights, less than one, as the last contestant shows.
"""

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import _pythae
import torch
from _extractors import (
    CACHE,
    SEEDS,
    Extractor,
    Labels,
    Rows,
    accuracy,
    extractor,
    mnist_splits,
    train,
)
from _generator_tables import (
    BASELINE,
    REAL,
    WORST_BASELINE,
    as_table,
    gathered,
    middle,
    table_of_usefulness,
)
from _judging import (
    Line,
    Run,
    as_bytes,
    as_pixels,
    baseline,
    decoded,
    judge,
    judge_real,
    kept_manifold,
    reconstructed,
    run_of,
    timed,
)
from _maps import file_name, options_for
from _timing import load, merge, write_text
from sklearn.linear_model import LogisticRegression

import manifoldgen
from manifoldgen.training import History, Outcome

SECONDS = 360.0  # of a manifold and a generator
PEER_SECONDS = 220.0  # of a model and its sampler: what LatentMixture takes in all
EXTRA_SECONDS = 120.0  # of training on, jointly or not
MIXTURE_SHARE, FLOW_SHARE = 0.05, 1 / 3  # of the seconds: pythae's samplers
REFLOW_EPOCHS = 30
# the pace of training on from averaged weights
TRAINED_ON = {"learning_rate": 3e-4, "max_epochs": 20}
DRAWS_AFTER_REFLOW = {
    "30 steps": {"n_steps": 30, "solver": "heun"},
    "4 steps": {"n_steps": 4, "solver": "euler"},
}
CONV_32: dict[str, Any] = {
    "n_components": 32,
    "architecture": "conv",
    "image_shape": (1, 28, 28),
    "channels": (16, 32),
    "hidden_sizes": (256,),
    "loss": "bce",
    "noise": 0.1,
    "learning_rate": 8e-3,
    "schedule": "one_cycle",
    "max_epochs": 25,
    "patience": None,
    "validation_fraction": 0.0,
    "whiten": True,
    "precision": "bf16",
    "max_time": 180.0,
}
STAGED = "LatentFlowMatching"
# what differs from the defaults, by class
PARAMETERS: dict[str, dict[str, Any]] = {
    "LatentMixture": {"n_components": 200},
    "LatentNormalizingFlow": {"max_epochs": 20},
    "LatentFlowMatching": {
        "hidden_sizes": (512, 512, 512),
        "average_decay": 0.9995,
        "validation_fraction": 0.05,
        "max_epochs": 60,
        "precision": "bf16",
    },
    "LatentGAN": {
        "hidden_sizes": (256, 256, 256),
        "batch_size": 256,
        "learning_rate": 2e-3,
        "max_epochs": 80,
    },
    "JointGenerator": {},
}


def usefulness(X: Rows, y: Labels, run: Run) -> dict[str, float]:
    """Return the accuracy on held-out images of classifiers trained on `X`."""
    linear = LogisticRegression(max_iter=200).fit(X, y)
    network = Extractor(train(X, y, run.seed, epochs=4, augment=False))
    return {
        "logistic_regression": float(linear.score(run.held_out, run.y_held_out)),
        "network": accuracy(network, run.held_out, run.y_held_out),
    }


# contestants


def new_generator(kind: str, run: Run, seconds: float, **parameters: Any) -> Any:
    """Return a generator of the package, which stops by itself where it can."""
    parameters = PARAMETERS[kind] | parameters
    generator = getattr(manifoldgen, kind)(random_state=run.seed, **parameters)
    return bounded(generator, seconds)


def bounded(estimator: Any, seconds: float) -> Any:
    """Set the seconds of training, of what trains as long as it may."""
    if "max_time" in estimator.get_params(deep=False):
        estimator.set_params(max_time=max(seconds, 1.0))
    return estimator


def staged(
    name: str,
    run: Run,
    kind: str,
    draws: dict[str, dict[str, Any]] | None = None,
    **parameters: Any,
) -> list[Line]:
    """Fit a generator on latents of the best manifold, in the time that is left.

    `draws` are parameters to draw with, by what to call the line; one fit serves all.
    """
    manifold, before = kept_manifold(run, CONV_32)
    Z = manifold.transform(run.X)
    generator = new_generator(kind, run, run.share * SECONDS - before, **parameters)
    conditional = parameters.get("conditional", False)
    _, seconds = timed(generator.fit, Z, run.y if conditional else None)
    spent = {"manifold": before, "generator": seconds}
    line = partial(decoded, name, manifold, generator, spent, conditional)
    if draws is None:
        return [line()]
    return [line(**how)._replace(name=f"{name}, {it}") for it, how in draws.items()]


class TunedFurther(manifoldgen.JointGenerator):
    """A JointGenerator whose stages are there already."""

    stages: Any = None

    def _fit_stages(self, rows: Any, y: Any, rng: Any) -> Outcome:
        self.manifold_, self.generator_ = pickle.loads(pickle.dumps(self.stages))
        self.n_components_ = self.manifold_.n_components_
        return Outcome(History(), 0, "max_epochs", None)


def staged_and_on(name: str, run: Run) -> list[Line]:
    """Return a staged pipeline, and both ways to spend the same extra seconds on it.

    The one trains its generator on, the other decoder and generator jointly.
    """
    manifold, before = kept_manifold(run, CONV_32)
    Z = manifold.transform(run.X)
    generator = new_generator(STAGED, run, run.share * SECONDS - before)
    _, seconds = timed(generator.fit, Z)
    spent = {"manifold": before, "generator": seconds}
    extra = run.share * EXTRA_SECONDS
    longer = pickle.loads(pickle.dumps(generator))
    longer.set_params(warm_start=True, max_time=extra, **TRAINED_ON)
    _, on = timed(longer.fit, Z)
    model = TunedFurther(random_state=run.seed, **PARAMETERS["JointGenerator"])
    model.stages = manifold, generator
    model.set_params(max_time=extra)
    _, joint = timed(model.fit, run.X)
    return [
        decoded(name, manifold, generator, spent),
        decoded(f"{name}, trained on", manifold, longer, spent | {"on": on}),
        Line(
            "JointGenerator",
            lambda n, seed: model.sample(n, random_state=seed),
            spent | {"joint": joint},
            partial(reconstructed, model),
        ),
    ]


def peer(name: str, run: Run, kind: str, nets: str = "mlp") -> list[Line]:
    """Train a model of pythae, and a sampler of each kind on it, at equal time."""
    whole = run.share * PEER_SECONDS
    long, short = whole * (1 - MIXTURE_SHARE), whole * (1 - FLOW_SHARE)
    model = _pythae.new(kind, (1, 28, 28), 16, nets, run.seed)
    earlier = _pythae.train(model, run.X, long, run.seed, copy_after=short)
    lines = []
    for sampler in _pythae.SAMPLERS:
        base, before = (earlier, short) if sampler == "MAF" else (model, long)
        draw, seconds = timed(
            _pythae.fit_sampler, sampler, base, run.X, whole - before, run.seed
        )
        spent = {"manifold": before, "generator": seconds}
        again = partial(_pythae.reconstruct, base)
        lines.append(Line(f"{name} + {sampler}", draw, spent, again))
    return lines


CONTESTANTS: dict[str, Callable[[str, Run], list[Line]]] = {
    BASELINE: baseline,
    "LatentMixture": partial(staged, kind="LatentMixture"),
    "LatentNormalizingFlow": partial(staged, kind="LatentNormalizingFlow"),
    "LatentGAN": partial(staged, kind="LatentGAN"),
    "LatentGAN, hinge": partial(staged, kind="LatentGAN", loss="hinge"),
    "LatentFlowMatching": staged_and_on,
    "LatentFlowMatching, conditional": partial(
        staged, kind="LatentFlowMatching", conditional=True
    ),
    "LatentFlowMatching, reflow": partial(
        staged,
        kind="LatentFlowMatching",
        draws=DRAWS_AFTER_REFLOW,
        reflow_epochs=REFLOW_EPOCHS,
        hidden_sizes=(512, 512),  # drawn from in seconds
        max_epochs=35,
    ),
    **{f"pythae {kind}": partial(peer, kind=kind) for kind in _pythae.MODELS},
    "pythae AE, convolutions": partial(peer, kind="AE", nets="conv"),
}


# the run


def judged(line: Line, run: Run, extractors: dict[str, Extractor]) -> dict[str, Any]:
    """Return the figures of a line, and what one with labels is good for."""
    found = judge(line, run, extractors)
    if line.conditional:
        rows = as_pixels(as_bytes(line.draw(run.y, run.seed + 1)))
        found["usefulness"] = usefulness(rows, run.y, run)
    return found


def report(file: str, found: dict[str, Any], tune: bool) -> None:
    lines = [
        "# Generators of MNIST",
        "",
        f"Samples beside the {'tuning' if tune else 'test'} images, in the features of "
        f"{len(SEEDS)} classifiers, which name "
        f"{middle(gathered(found['runs'], REAL, 'accuracy'), 4) or 'most'} of them "
        f"right; seeds {', '.join(found['runs'])}; "
        f"{torch.get_num_threads()} threads. Medians, with the range over seeds and "
        f"classifiers. R: Fréchet distance over that of {BASELINE}; empty where its "
        f"autoencoder errs by more than {WORST_BASELINE}.",
        "",
        as_table(found["runs"], CONTESTANTS),
        "",
        "Accuracy on the same images after training on generated images with labels, "
        "as many as there are real ones to learn from:",
        "",
        table_of_usefulness(found["runs"], CONTESTANTS),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


def main() -> None:
    """Run contestants seed by seed, and store each line before the next."""
    parser = options_for(__doc__, [REAL, *CONTESTANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tune", action="store_true", help="never the test images")
    parser.add_argument(
        "--fresh", action="store_true", help="fit manifolds again that are kept"
    )
    options = parser.parse_args()
    for path in CACHE.glob("manifold_*.pkl") if options.fresh else ():
        path.unlink()
    file = file_name("generators_tune" if options.tune else "generators", options.quick)
    splits = mnist_splits(options.data)
    extractors = {str(seed): extractor(seed, lambda: splits) for seed in SEEDS}
    for seed in options.seeds:
        run = run_of(splits, seed, options.tune, options.quick)
        for name in options.only or [REAL, *CONTESTANTS]:
            if name == REAL:
                found = {name: judge_real(run, extractors)}
                found[name]["usefulness"] = usefulness(run.X, run.y, run)
            else:
                print(f"seed {seed}, {name}: fit", flush=True)
                lines = CONTESTANTS[name](name, run)
                found = {line.name: judged(line, run, extractors) for line in lines}
            print(f"seed {seed}, {found}", flush=True)
            merge(file, {"runs": {str(seed): found}})
    report(file, load(file), options.tune)


if __name__ == "__main__":
    main()
