"""Log-likelihood of binarised MNIST: VAEManifold and pythae's VAE at equal seconds.

Each pixel is 1 with the probability of its grey, drawn once with a fixed seed: 50,000
images to fit, 10,000 to stop by, 10,000 to judge by. `--draws 3` fits everyone on
three draws of each training image in place of one (150,000 rows), against overfitting.

The figure is the importance-weighted bound with 64 samples of the posterior, in nats an
image: it grows with the number of samples, towards the log-likelihood. That of pythae's
models is computed here from encoder and decoder, many rows at once, as its own
`get_nll` does it row by row; `gap` says how far apart the two are on some rows with the
same noise. Its convolutions, 17 million weights, take a second for some ten images on
one core, so they are judged by the first rows alone, and all others by these as well.

pythae's models get the same seconds, its settings (batches of 100, Adam at 1e-3, 16
latents) and a binary cross-entropy in place of the squared error. What its trainer sees
of a validation set would be the end of an epoch, few of which fit in: the bound on
images that were fitted on tells whether anyone overfits.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import _pythae
import numpy as np
import torch
from _extractors import Rows
from _judging import timed, use_threads
from _maps import file_name, options_for, rounded
from _timing import load, merge, table, write_text
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from manifoldgen import VAEManifold
from manifoldgen.datasets import load_mnist

SECONDS = 600.0
N_TRAIN = 50_000
N_SAMPLES = 64
N_FIRST = 1000  # rows that all models are judged by
N_CHECKED = 5
BLOCK = 1024  # images that a decoder sees at once
SEED_OF_PIXELS = 0
PARAMETERS: dict[str, Any] = {
    "n_components": 32,
    "architecture": "conv",
    "image_shape": (1, 28, 28),
    "channels": (16, 32),
    "hidden_sizes": (256,),
    "likelihood": "bernoulli",
    "learning_rate": 4e-3,
    "schedule": "one_cycle",
    "max_epochs": 45,
    "patience": None,
    "precision": "bf16",
}


class Binary(NamedTuple):
    """Images of 0 and 1."""

    X: Rows
    X_stop: Rows
    X_test: Rows


class Model(NamedTuple):
    """What is judged: bounds of rows, in nats a row."""

    log_likelihood: Callable[[Rows], NDArray[np.float64]]
    elbo: Callable[[Rows], NDArray[np.float64]]
    seconds: float
    extra: dict[str, Any]


def binarised(data: str | None, draws: int, quick: bool) -> Binary:
    """Return MNIST with every pixel drawn once, those to fit `draws` times."""
    split = load_mnist(data)
    rng = np.random.default_rng(SEED_OF_PIXELS)
    n, n_new = (4000, 500) if quick else (N_TRAIN, None)

    def drawn(pixels: NDArray[np.uint8]) -> Rows:
        grey = pixels.reshape(len(pixels), -1).astype(np.float32) / 255
        return (rng.random(grey.shape, dtype=np.float32) < grey).astype(np.float32)

    X_test = drawn(split.X_test)[:n_new]  # first: they do not depend on `draws`
    X_stop = drawn(split.X_train[N_TRAIN:])[:n_new]
    X = np.concatenate([drawn(split.X_train[:n]) for _ in range(draws)])
    return Binary(X, X_stop, X_test)


def ours(rows: Binary, seconds: float, seed: int) -> Model:
    model = VAEManifold(random_state=seed, max_time=seconds, **PARAMETERS)
    _, spent = timed(partial(model.fit, rows.X, X_val=rows.X_stop))
    return Model(
        partial(model.log_likelihood, n_samples=N_SAMPLES, random_state=seed),
        partial(model.elbo, n_samples=1, random_state=seed),
        spent,
        {"epochs": model.n_epochs_},
    )


def peer(rows: Binary, seconds: float, seed: int, nets: str) -> Model:
    model = _pythae.new("VAE", (1, 28, 28), 16, nets, seed, reconstruction_loss="bce")
    _, spent = timed(_pythae.train, model, rows.X, seconds, seed)
    return Model(
        lambda X: bounds(model, X, N_SAMPLES, seed),
        lambda X: bounds(model, X, 1, seed),
        spent,
        {"gap": gap_to_its_own(model, rows.X_test[:N_CHECKED])},
    )


@torch.no_grad()
def bounds(model: Any, X: Rows, n_samples: int, seed: int) -> NDArray[np.float64]:
    """Return importance-weighted bounds of rows from a model of pythae.

    With one sample the mean over rows is that of the evidence lower bound.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    images = torch.from_numpy(X).reshape(-1, *model.model_config.input_dim)
    for batch in images.split(max(1, BLOCK // n_samples)):
        noise = torch.randn(
            len(batch), n_samples, model.model_config.latent_dim, generator=generator
        )
        found.append(_bounds_of_batch(model, batch, noise))
    return torch.cat(found).numpy()


def _bounds_of_batch(model: Any, batch: Tensor, noise: Tensor) -> Tensor:
    """Return log mean_k p(x | z_k) p(z_k) / q(z_k | x) of each row, in float64."""
    code = model.encoder(batch)
    mean, log_variance = code.embedding[:, None], code.log_covariance[:, None]
    z = mean + noise * torch.exp(0.5 * log_variance)
    decoded = model.decoder(z.flatten(0, 1)).reconstruction.reshape(*z.shape[:2], -1)
    target = batch.reshape(len(batch), 1, -1).expand_as(decoded)
    log_likelihood = -F.binary_cross_entropy(decoded, target, reduction="none").sum(-1)
    # the constants of both normal densities cancel
    log_ratio = 0.5 * (noise**2 + log_variance - z**2).sum(-1)
    log_weights = (log_likelihood + log_ratio).double()
    return log_weights.logsumexp(1) - np.log(noise.shape[1])


@torch.no_grad()
def gap_to_its_own(model: Any, X: Rows) -> float:
    """Return the largest difference from pythae's own bound, on rows one by one."""
    gaps = []
    for row in torch.from_numpy(X).reshape(-1, 1, *model.model_config.input_dim):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            own = model.get_nll(row, n_samples=N_SAMPLES, batch_size=N_SAMPLES)
            torch.manual_seed(0)
            noise = torch.randn(1, N_SAMPLES, model.model_config.latent_dim)
        gaps.append(abs(own - _bounds_of_batch(model, row, noise).item()))
    return float(max(gaps))


CONTESTANTS: dict[str, Callable[[Binary, float, int], Model]] = {
    "VAEManifold": ours,
    "pythae VAE": partial(peer, nets="mlp"),
    "pythae VAE, convolutions": partial(peer, nets="conv"),
}
ON_FIRST_ROWS = {"pythae VAE, convolutions"}


def judge(name: str, model: Model, rows: Binary, seed: int) -> dict[str, Any]:
    """Return the bounds of a model on test images and on those it knows."""
    some = rows.X_test[:N_FIRST]
    X = some if name in ON_FIRST_ROWS else rows.X_test
    values, seconds = timed(model.log_likelihood, X)
    return {
        "log_likelihood": float(np.mean(values)),
        "standard_error": float(np.std(values) / np.sqrt(len(values))),
        "rows": len(values),
        "first": float(np.mean(values[: len(some)])),
        "elbo": float(np.mean(model.elbo(X))),
        "elbo_stopping": float(np.mean(model.elbo(rows.X_stop[:N_FIRST]))),
        "elbo_train": float(np.mean(model.elbo(rows.X[:N_FIRST]))),
        "seconds": model.seconds,
        "judged_seconds": seconds,
        "threads": torch.get_num_threads(),
        "seed": seed,
        **model.extra,
    }


def report(file: str, found: dict[str, Any]) -> None:
    columns = ["", "draws", "seed", "fit, s", "threads", "log-likelihood", "(s.e.)"]
    columns += ["images", f"of the first {N_FIRST:,}", "ELBO", "of images to stop by"]
    columns += ["of images fitted on", "gap to get_nll"]
    rows = [
        [
            name,
            draws,
            seed,
            rounded(it["seconds"], 0),
            it["threads"],
            rounded(it["log_likelihood"], 2),
            rounded(it["standard_error"], 2),
            it["rows"],
            *(
                rounded(it[key], 2)
                for key in ("first", "elbo", "elbo_stopping", "elbo_train")
            ),
            f"{it['gap']:.1e}" if "gap" in it else None,
        ]
        for name in CONTESTANTS
        for draws, by_seed in found["runs"].get(name, {}).items()
        for seed, it in by_seed.items()
    ]
    lines = [
        "# Log-likelihood of binarised MNIST",
        "",
        f"Importance-weighted with {N_SAMPLES} samples, nats an image, more is better.",
        "",
        table(columns, rows),
    ]
    print("\n".join(lines))
    write_text(f"{file}.md", "\n".join(lines))


def main() -> None:
    """Fit and judge contestant by contestant, and store each before the next."""
    parser = options_for(__doc__, CONTESTANTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each model")
    parser.add_argument("--draws", type=int, default=1, help="of each training image")
    parser.add_argument("--threads", type=int, help="as many as torch takes by default")
    options = parser.parse_args()
    use_threads(options.threads)
    seconds = 8.0 if options.quick else options.seconds
    file = file_name("likelihood", options.quick)
    rows = binarised(options.data, options.draws, options.quick)
    for seed in options.seeds:
        for name in options.only or CONTESTANTS:
            model = CONTESTANTS[name](rows, seconds, seed)
            found = judge(name, model, rows, seed)
            print(f"{name}: {found}", flush=True)
            runs = {name: {str(options.draws): {str(seed): found}}}
            merge(file, {"runs": runs})
    report(file, load(file))


if __name__ == "__main__":
    main()
