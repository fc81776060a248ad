"""Generative models of CIFAR-10 in colour at equal seconds.

Everyone is fitted on 12,000 images and draws as many as there are test images, 5,000,
which both are looked at in the features of two classifiers that were trained on other
images (see `_cifar.py`); medians over these and over seeds. R is the Fréchet distance
over that of the baseline of the same seed and classifier: principal components and a
mixture of 50 Gaussians with full covariances, whose width is the best of 64, 96 and 128
on the images for decisions. `--tune` judges by these in place of the test images and
writes to other files; "PCA(n) + GaussianMixture" of other widths are run where named.

A manifold and its generator have the seconds together.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from _cifar import IMAGE_SHAPE, SEEDS, cifar_splits, extractor
from _generator_tables import REAL, Yardstick, as_table, gathered, middle
from _judging import (
    Line,
    Run,
    decoded,
    judge,
    judge_real,
    reconstructed,
    run_of,
    timed,
    use_threads,
)
from _maps import file_name, options_for
from _timing import load, merge, write_text
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

import manifoldgen
from manifoldgen import make_generative_pipeline

SECONDS = 600.0
MANIFOLD_SHARE = 0.5  # of the seconds, where a generator follows
WIDTHS = (64, 96, 128)
BASELINE_WIDTH = 64
BASELINE = f"PCA({BASELINE_WIDTH}) + GaussianMixture(50)"
YARDSTICK = Yardstick(BASELINE, 1.0)  # no autoencoder in it that may fail
IMAGES: dict[str, Any] = {"image_shape": IMAGE_SHAPE, "precision": "bf16"}
CODES: dict[str, Any] = IMAGES | {
    "architecture": "conv",
    "channels": (32, 64),
    "hidden_sizes": (256,),
    "learning_rate": 4e-3,
    "schedule": "one_cycle",
    "patience": None,
}
# what differs from the defaults, by contestant
PARAMETERS: dict[str, dict[str, Any]] = {
    "AutoencoderManifold": CODES
    | {
        "n_components": 96,
        "noise": 0.1,
        "max_epochs": 12,
        "validation_fraction": 0.0,
        "whiten": True,
    },
    "LatentFlowMatching": {
        "hidden_sizes": (512, 512, 512),
        "average_decay": 0.9995,
        "validation_fraction": 0.05,
        "max_epochs": 80,
        "precision": "bf16",
    },
    "LatentMixture": {"n_components": 50},
    "VAEManifold": CODES | {"n_components": 64, "max_epochs": 15},
    "AdversarialAutoencoderManifold": CODES
    | {"n_components": 64, "sharpening_weight": 0.1, "max_epochs": 60},
    "ImageGAN": IMAGES
    | {
        "value_range": (0.0, 1.0),
        "channels": (32, 64),
        "hidden_sizes": (256,),
        "gradient_penalty": 1.0,
        "penalty_interval": 8,
        "max_epochs": 20,
    },
}
AUGMENT = {"flip": 0.5, "shift": 0.125}


# contestants


def new(kind: str, run: Run, seconds: float, **parameters: Any) -> Any:
    """Return an estimator of the package that stops after `seconds` where it can."""
    parameters = PARAMETERS[kind] | parameters
    estimator = getattr(manifoldgen, kind)(random_state=run.seed, **parameters)
    if "max_time" in estimator.get_params(deep=False):
        estimator.set_params(max_time=max(seconds, 1.0))
    return estimator


def linear(name: str, run: Run, seconds: float, width: int) -> list[Line]:
    """Fit principal components and a mixture, which take what they take."""
    pca = PCA(width, random_state=run.seed)
    mixture = GaussianMixture(50, reg_covar=1e-4, random_state=run.seed)
    codes, before = timed(pca.fit_transform, run.X)
    _, spent = timed(mixture.fit, codes)
    return [decoded(name, pca, mixture, {"manifold": before, "generator": spent})]


def staged(name: str, run: Run, seconds: float, generators: list[str]) -> list[Line]:
    """Fit an autoencoder once, and each generator on its codes in the time left."""
    manifold = new("AutoencoderManifold", run, MANIFOLD_SHARE * seconds)
    _, before = timed(manifold.fit, run.X)
    Z = manifold.transform(run.X)
    lines = []
    for kind in generators:
        generator = new(kind, run, seconds - before)
        _, spent = timed(generator.fit, Z)
        seconds_spent = {"manifold": before, "generator": spent}
        lines.append(
            decoded(f"AutoencoderManifold + {kind}", manifold, generator, seconds_spent)
        )
    return lines


def with_flow(name: str, run: Run, seconds: float) -> list[Line]:
    """Fit a variational autoencoder, and a flow on its whitened posterior means."""
    model = new("VAEManifold", run, MANIFOLD_SHARE * seconds)
    _, before = timed(model.fit, run.X)
    flow = new("LatentFlowMatching", run, seconds - before)
    whitened = make_generative_pipeline(PCA(whiten=True, random_state=run.seed), flow)
    _, spent = timed(whitened.fit, model.transform(run.X))
    return [decoded(name, model, whitened, {"manifold": before, "generator": spent})]


def alone(
    name: str, run: Run, seconds: float, kind: str = "", **parameters: Any
) -> list[Line]:
    """Fit a model that draws images by itself."""
    model = new(kind or name, run, seconds, **parameters)
    _, spent = timed(model.fit, run.X)
    encodes = hasattr(model, "transform")

    def draw(n: int, seed: int) -> Any:
        return model.sample(n, random_state=seed)

    back = partial(reconstructed, model) if encodes else None
    return [Line(name, draw, {"model": spent}, back)]


OF_OTHER_WIDTHS = {
    f"PCA({width}) + GaussianMixture(50)": partial(linear, width=width)
    for width in WIDTHS
    if width != BASELINE_WIDTH
}
CONTESTANTS: dict[str, Callable[[str, Run, float], list[Line]]] = {
    BASELINE: partial(linear, width=BASELINE_WIDTH),
    "AutoencoderManifold": partial(
        staged, generators=["LatentFlowMatching", "LatentMixture"]
    ),
    "VAEManifold": alone,
    "VAEManifold + LatentFlowMatching": with_flow,
    "AdversarialAutoencoderManifold": alone,
    "ImageGAN": alone,
    "ImageGAN, augmented": partial(alone, kind="ImageGAN", augment=AUGMENT),
}


# the run


def report(file: str, found: dict[str, Any], tune: bool) -> None:
    runs, n = found["runs"], 2000 if tune else 5000
    lines = [
        "# Generative models of CIFAR-10",
        "",
        f"{n:,} samples beside as many {'tuning' if tune else 'test'} images, in the "
        f"features of {len(SEEDS)} classifiers, which name "
        f"{middle(gathered(runs, REAL, 'accuracy'), 4) or 'most'} of them right; "
        f"seeds {', '.join(runs)}; {found['versions']['threads']} threads. "
        "Medians, with the range over seeds and classifiers. R: Fréchet distance over "
        f"that of {BASELINE}.",
        "",
        as_table(runs, [*CONTESTANTS, *OF_OTHER_WIDTHS], YARDSTICK, n),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


def main() -> None:
    """Run contestants seed by seed, and store each line before the next."""
    fits = CONTESTANTS | OF_OTHER_WIDTHS
    parser = options_for(__doc__, [REAL, *fits])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tune", action="store_true", help="never the test images")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each model")
    parser.add_argument("--threads", type=int, help="as many as torch takes by default")
    options = parser.parse_args()
    use_threads(options.threads)
    seconds = 8.0 if options.quick else options.seconds
    file = file_name("cifar_tune" if options.tune else "cifar", options.quick)
    splits = cifar_splits(options.data)
    how = {"epochs": 1} if options.quick else {}
    extractors = {str(seed): extractor(seed, lambda: splits, **how) for seed in SEEDS}
    for seed in options.seeds:
        run = run_of(splits, seed, options.tune, options.quick)
        for name in options.only or [REAL, *CONTESTANTS]:
            if name == REAL:
                found = {name: judge_real(run, extractors)}
            else:
                print(f"seed {seed}, {name}: fit", flush=True)
                lines = fits[name](name, run, seconds)
                found = {
                    line.name: judge(line, run, extractors, "cifar_samples")
                    for line in lines
                }
            print(f"seed {seed}, {found}", flush=True)
            merge(file, {"runs": {str(seed): found}})
    report(file, load(file), options.tune)


if __name__ == "__main__":
    main()
