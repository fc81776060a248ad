"""Does a regularised autoencoder leave latents that are easier to draw from?

The regularised autoencoder of Ghosh et al. (2020, RAE-L2) is AutoencoderManifold with
`latent_penalty` and `decoder_penalty`; the plain one has neither. Both have 16 latents
of MNIST, of which a mixture of 10 Gaussians is fitted, as in their paper, and 10,000
rows are drawn. R is the Fréchet distance to the 10,000 test images over that of the
plain one, in the features of the three classifiers of `_extractors.py`, which saw no
row of these; medians over the classifiers, for each of two seeds. `reconstruction` is
the squared error of the test images, times 1,000.

The weights of the penalties are chosen among a few on the 10,000 tuning rows, by one
classifier and a seed of their own; these figures are written too.
"""

import argparse
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from _extractors import SEEDS, Extractor, Rows, Splits, extractor, mnist_splits
from _timing import table, write, write_text
from sklearn.mixture import GaussianMixture

from manifoldgen import AutoencoderManifold, sample_from
from manifoldgen.metrics import frechet_distance

SETTINGS = {
    "n_components": 16,
    "hidden_sizes": (256, 128),
    "batch_size": 256,
    "learning_rate": 4e-3,
    "schedule": "one_cycle",
    "max_epochs": 20,
    "validation_fraction": 0.0,
    "patience": None,
}
PLAIN = (0.0, 0.0)
PENALTIES = [PLAIN, (1e-3, 1e-5), (1e-3, 1e-4), (1e-2, 1e-5), (1e-2, 1e-4)]
TUNING_SEED = 2
JUDGED_SEEDS = (0, 1)


class Drawn(NamedTuple):
    samples: Rows
    error: float
    seconds: float


def drawn(X: Rows, held_out: Rows, penalties: tuple[float, float], seed: int) -> Drawn:
    """Fit autoencoder and mixture, and draw as many rows as are held out."""
    latent, decoder = penalties
    start = time.perf_counter()
    manifold = AutoencoderManifold(
        latent_penalty=latent, decoder_penalty=decoder, random_state=seed, **SETTINGS
    ).fit(X)
    mixture = GaussianMixture(10, random_state=seed).fit(manifold.transform(X))
    seconds = time.perf_counter() - start
    latents = sample_from(mixture, len(held_out), random_state=seed)
    samples = manifold.inverse_transform(latents.astype(np.float32))
    # as images store them
    samples = np.rint(samples.clip(0.0, 1.0) * 255).astype(np.float32) / 255
    return Drawn(
        samples, float(manifold.reconstruction_error(held_out).mean()), seconds
    )


def tuned(splits: Splits, features: Extractor) -> dict[tuple[float, float], float]:
    """Return the Fréchet distance of each pair of penalties to the tuning rows."""
    real = features(splits.X_tuning)
    return {
        pair: float(
            frechet_distance(
                real,
                features(drawn(splits.X, splits.X_tuning, pair, TUNING_SEED).samples),
            )
        )
        for pair in PENALTIES
    }


def judged(
    splits: Splits, extractors: list[Extractor], pair: tuple[float, float], seed: int
) -> dict[str, Any]:
    found = drawn(splits.X, splits.X_test, pair, seed)
    return {
        "frechet": [
            float(frechet_distance(features(splits.X_test), features(found.samples)))
            for features in extractors
        ],
        "squared_error": found.error,
        "seconds": found.seconds,
    }


def as_text(found: dict[str, Any]) -> str:
    rows = []
    for seed, by_kind in found["test"].items():
        plain = np.array(by_kind["plain"]["frechet"])
        for kind, it in by_kind.items():
            distances = np.array(it["frechet"])
            rows.append(
                [
                    seed,
                    kind,
                    f"{np.median(distances):.2f}",
                    f"{np.median(distances / plain):.2f}",
                    f"{1e3 * it['squared_error']:.2f}",
                    f"{it['seconds']:.0f}",
                ]
            )
    chosen = found["chosen"]
    tuning = [[*pair, f"{distance:.2f}"] for *pair, distance in found["tuning"]]
    return "\n\n".join(
        [
            "# A regularised autoencoder beside the plain one",
            "AutoencoderManifold(16) and a mixture of 10 Gaussians on MNIST. "
            f"Regularised: latent_penalty={chosen[0]:g}, "
            f"decoder_penalty={chosen[1]:g}, chosen on tuning rows.",
            table(["seed", "kind", "Fréchet", "R", "reconstruction", "s"], rows),
            table(["latent_penalty", "decoder_penalty", "Fréchet, tuning"], tuning),
        ]
    )


def main() -> None:
    """Choose penalties, then judge on one thread, and write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with mnist.npz")
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = mnist_splits(options.data)
    extractors = [extractor(seed, lambda: splits) for seed in SEEDS]
    distances = tuned(splits, extractors[0])
    chosen = min(PENALTIES[1:], key=distances.__getitem__)
    found = {
        "settings": SETTINGS,
        "tuning": [[*pair, distance] for pair, distance in distances.items()],
        "chosen": chosen,
        "test": {
            seed: {
                kind: judged(splits, extractors, pair, seed)
                for kind, pair in (("plain", PLAIN), ("regularised", chosen))
            }
            for seed in JUDGED_SEEDS
        },
    }
    write("regularised", found)
    write_text("regularised.md", as_text(found))


if __name__ == "__main__":
    main()
