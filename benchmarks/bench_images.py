"""Generative models of MNIST images at equal seconds: how good are their samples?

The protocol, the features and the baseline are those of `bench_generators.py`: 10,000
samples beside the 10,000 test images, medians over three classifiers and over seeds; R
is the Fréchet distance over that of the baseline of the same seed and classifier. Every
model gets 40,000 images and the same seconds, a manifold and its generator together.
`--tune` judges by the last 10,000 training images and writes to other files.

pythae's variational autoencoders draw from their prior, as ours do. Their default is a
squared error; "binary" is the cross-entropy that ours has. The plain autoencoder has
the networks and the seconds of the adversarial one, for its reconstructions; its
samples come from one Gaussian on its codes. "1,000 images" are all that a GAN gets, and
test images are what it is compared with all the same.

ImageGAN is judged on five seeds: a run has lost no class where each is at least a tenth
as frequent among the samples as among real images, by each classifier.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import _pythae
import numpy as np
import torch
from _extractors import SEEDS, extractor, mnist_splits
from _generator_tables import (
    BASELINE,
    REAL,
    WORST_BASELINE,
    as_table,
    gathered,
    middle,
)
from _judging import (
    MLP_16,
    Line,
    Run,
    baseline,
    decoded,
    judge,
    judge_real,
    reconstructed,
    run_of,
    timed,
    use_threads,
)
from _maps import file_name, options_for
from _timing import load, merge, table, write_text
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

import manifoldgen
from manifoldgen import make_generative_pipeline

SECONDS = 600.0
FLOW_SHARE = 0.4  # of the seconds, where a flow follows
FEW = 1000
LEAST_SHARE = 0.1  # of a class, over its share of real images
GAN = "ImageGAN"
ALL_SEEDS = (0, 1, 2, 3, 4)  # of the GAN, and of the baseline that it is measured by
IMAGES: dict[str, Any] = {"image_shape": (1, 28, 28), "precision": "bf16"}
CODES: dict[str, Any] = IMAGES | {
    "architecture": "conv",
    "channels": (16, 32),
    "hidden_sizes": (256,),
    "schedule": "one_cycle",
    "patience": None,
}
RECONSTRUCTING: dict[str, Any] = CODES | {
    "n_components": 16,
    "loss": "bce",
    "learning_rate": 4e-3,
}
ADVERSARIAL = RECONSTRUCTING | {
    "prior_weight": 0.02,
    "gradient_penalty": 0.05,
    "latent_noise": 0.02,
}
# what differs from the defaults, by contestant
PARAMETERS: dict[str, dict[str, Any]] = {
    "VAEManifold": CODES
    | {
        "n_components": 16,
        "likelihood": "bernoulli",
        "learning_rate": 4e-3,
        "max_epochs": 25,
    },
    "VAEManifold + LatentFlowMatching": CODES
    | {
        "n_components": 32,
        "likelihood": "bernoulli",
        "beta": 0.05,
        "learning_rate": 6e-3,
        "max_epochs": 25,
    },
    "LatentFlowMatching": {
        "hidden_sizes": (512, 512, 512),
        "average_decay": 0.9995,
        "validation_fraction": 0.05,
        "max_epochs": 35,
        "precision": "bf16",
    },
    # as many epochs as take the seconds of one thread
    "AutoencoderManifold": RECONSTRUCTING | {"max_epochs": 70},
    "AdversarialAutoencoderManifold": ADVERSARIAL | {"max_epochs": 55},
    "AdversarialAutoencoderManifold, sharpened": ADVERSARIAL
    | {"sharpening_weight": 0.1, "sharpening_penalty": 0.25, "max_epochs": 26},
    "ImageGAN": IMAGES
    | {
        "value_range": (0.0, 1.0),
        "learning_rate": 4e-3,
        "gradient_penalty": 1.0,
        "penalty_interval": 8,
        "max_epochs": 11,
    },
}
OF_FEW: dict[str, Any] = {"max_epochs": 1000, "validation_fraction": 0.0}
AUGMENT = {"rotate": 10.0, "scale": 0.1, "shift": 0.04}
Fit = Callable[[str, Run, float], list[Line]]


# contestants


def new(kind: str, run: Run, seconds: float, **parameters: Any) -> Any:
    """Return an estimator of the package that stops after `seconds`."""
    estimator = getattr(manifoldgen, kind)(random_state=run.seed, **parameters)
    return estimator.set_params(max_time=seconds)


def of_model(name: str, model: Any, seconds: float, conditional: bool = False) -> Line:
    """Return the line of a model that draws images by itself."""

    def draw(asked: Any, seed: int) -> Any:
        how = {"y": asked} if conditional else {"n_samples": asked}
        return model.sample(**how, random_state=seed)

    can_encode = hasattr(model, "transform")
    back = partial(reconstructed, model) if can_encode else None
    return Line(name, draw, {"model": seconds}, back, conditional)


def alone(name: str, run: Run, seconds: float, kind: str = "") -> list[Line]:
    """Fit a manifold with a prior."""
    model = new(kind or name, run, seconds, **PARAMETERS[name])
    _, spent = timed(model.fit, run.X)
    return [of_model(name, model, spent)]


def with_flow(name: str, run: Run, seconds: float) -> list[Line]:
    """Fit a variational autoencoder, and flows on its whitened posterior means.

    Once without labels and once with them; each has the seconds that are left.
    """
    model = new("VAEManifold", run, (1 - FLOW_SHARE) * seconds, **PARAMETERS[name])
    _, before = timed(model.fit, run.X)
    codes, lines = model.transform(run.X), []
    for conditional in (False, True):
        flow = new(
            "LatentFlowMatching",
            run,
            max(seconds - before, 1.0),
            conditional=conditional,
            **PARAMETERS["LatentFlowMatching"],
        )
        pca = PCA(whiten=True, random_state=run.seed)
        whitened = make_generative_pipeline(pca, flow)
        _, spent = timed(whitened.fit, codes, run.y if conditional else None)
        line = decoded(
            f"{name}, conditional" if conditional else name,
            model,
            whitened,
            {"manifold": before, "generator": spent},
            conditional,
        )
        lines.append(line)
    return lines


def with_gaussian(name: str, run: Run, seconds: float) -> list[Line]:
    """Fit a plain autoencoder, and one Gaussian on its codes."""
    model = new(name, run, seconds, **PARAMETERS[name])
    _, before = timed(model.fit, run.X)
    gaussian = GaussianMixture(1, random_state=run.seed)
    _, spent = timed(gaussian.fit, model.transform(run.X))
    return [decoded(name, model, gaussian, {"manifold": before, "generator": spent})]


def gan(
    name: str, run: Run, seconds: float, n: int | None = None, **parameters: Any
) -> list[Line]:
    """Fit a GAN, on the first `n` images alone where there is one."""
    model = new(GAN, run, seconds, **PARAMETERS[GAN] | parameters)
    conditional = parameters.get("conditional", False)
    _, spent = timed(model.fit, run.X[:n], run.y[:n] if conditional else None)
    return [of_model(name, model, spent, conditional)]


def peer(
    name: str, run: Run, seconds: float, nets: str = "mlp", **settings: Any
) -> list[Line]:
    """Train a variational autoencoder of pythae, which draws from its prior."""
    model = _pythae.new("VAE", (1, 28, 28), 16, nets, run.seed, **settings)
    _, spent = timed(_pythae.train, model, run.X, seconds, run.seed)
    draw = _pythae.fit_sampler("Normal", model, run.X, 0.0, run.seed)
    return [Line(name, draw, {"model": spent}, partial(_pythae.reconstruct, model))]


def measured_by(name: str, run: Run, seconds: float) -> list[Line]:
    """Fit the baseline in as many seconds of cores as it has with two threads."""
    budget = MLP_16["max_time"] * 2 / torch.get_num_threads()
    return baseline(name, run, max_time=budget)


BINARY = {"reconstruction_loss": "bce"}
CONTESTANTS: dict[str, Fit] = {
    BASELINE: measured_by,
    "VAEManifold": alone,
    "VAEManifold + LatentFlowMatching": with_flow,
    "pythae VAE": peer,
    "pythae VAE, binary": partial(peer, **BINARY),
    "pythae VAE, convolutions": partial(peer, nets="conv"),
    "pythae VAE, convolutions, binary": partial(peer, nets="conv", **BINARY),
    "AutoencoderManifold": with_gaussian,
    "AdversarialAutoencoderManifold": alone,
    "AdversarialAutoencoderManifold, sharpened": partial(
        alone, kind="AdversarialAutoencoderManifold"
    ),
    GAN: gan,
    "ImageGAN, conditional": partial(gan, conditional=True, max_epochs=22),
    "ImageGAN, 1,000 images": partial(gan, n=FEW, **OF_FEW),
    "ImageGAN, 1,000 images, augmented": partial(gan, n=FEW, augment=AUGMENT, **OF_FEW),
}


# the run


def seeds_of(name: str, asked: list[int] | None) -> list[int]:
    """Return the seeds of a contestant: those asked for, else one, of the GAN five."""
    if asked is not None:
        return asked
    return list(ALL_SEEDS) if name in (GAN, BASELINE) else [0]


def table_of_classes(runs: dict[str, Any]) -> str:
    """Return the share of the rarest class of each seed and line, over that of real."""
    rows = []
    for seed, lines in runs.items():
        for name in (name for name in lines if name.startswith(GAN)):
            found = gathered({seed: lines}, name, "class_shares")
            shares = np.array(found).min(axis=0)  # of the strictest classifier
            least = int(shares.argmin())
            kept = int((shares >= LEAST_SHARE).sum())
            rows.append([name, seed, kept, least, f"{shares[least]:.2f}"])
    columns = ["", "seed", "classes of ten", "rarest digit", "its share over real"]
    return table(columns, rows)


def report(file: str, found: dict[str, Any], tune: bool) -> None:
    runs = found["runs"]
    lines = [
        "# Generative models of MNIST images",
        "",
        f"Samples beside the {'tuning' if tune else 'test'} images, in the features of "
        f"{len(SEEDS)} classifiers, which name "
        f"{middle(gathered(runs, REAL, 'accuracy'), 4) or 'most'} of them right. "
        f"Medians, with the range over seeds and classifiers; "
        f"{' or '.join(map(str, found['seconds']))} seconds on "
        f"{' or '.join(map(str, found['threads']))} threads. R: Fréchet distance over "
        f"that of {BASELINE}; empty where its autoencoder errs by more than "
        f"{WORST_BASELINE}.",
        "",
        as_table(runs, CONTESTANTS),
        "",
        f"Classes of which GANs draw at least {LEAST_SHARE} of what real images hold:",
        "",
        table_of_classes(runs),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


def budgets(found: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the seconds and threads of all lines of a file, for its head."""
    lines = [line for run in found["runs"].values() for line in run.values()]
    threads = sorted({line["threads"] for line in lines if "threads" in line})
    return {"seconds": sorted({*found.get("seconds", []), seconds}), "threads": threads}


def main() -> None:
    """Run contestant by contestant, and store each line before the next."""
    parser = options_for(__doc__, [REAL, *CONTESTANTS])
    parser.add_argument("--seeds", nargs="+", type=int, help="of all contestants")
    parser.add_argument("--tune", action="store_true", help="never the test images")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each model")
    parser.add_argument("--threads", type=int, help="as many as torch takes by default")
    options = parser.parse_args()
    use_threads(options.threads)
    seconds = 4.0 if options.quick else options.seconds
    file = file_name("images_tune" if options.tune else "images", options.quick)
    splits = mnist_splits(options.data)
    extractors = {str(seed): extractor(seed, lambda: splits) for seed in SEEDS}
    asked = [0] if options.quick else options.seeds
    for name in options.only or [REAL, *CONTESTANTS]:
        for seed in seeds_of(name, asked):
            run = run_of(splits, seed, options.tune, options.quick)
            if name == REAL:
                found = {name: judge_real(run, extractors)}
            else:
                print(f"seed {seed}, {name}: fit", flush=True)
                lines = CONTESTANTS[name](name, run, seconds)
                found = {line.name: judge(line, run, extractors) for line in lines}
            print(f"seed {seed}, {found}", flush=True)
            known = merge(file, {"runs": {str(seed): found}})
            merge(file, budgets(known, seconds))
    report(file, load(file), options.tune)


if __name__ == "__main__":
    main()
