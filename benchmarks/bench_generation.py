"""Generated digits against held-out digits, in pixels: 3 splits x 3 seeds.

LatentGAN at the end of a pipeline, beside one Gaussian and a mixture of 10 on the same
latents, and beside real rows: as many training rows as there are held-out ones.
"""

import argparse
import time

import numpy as np
from _timing import write
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

from manifoldgen import (
    AutoencoderManifold,
    LatentGAN,
    energy_distance,
    make_generative_pipeline,
    precision_recall_density_coverage,
    sample_from,
)
from manifoldgen.metrics import near_copy_share

Rows = NDArray[np.floating]
FIGURES = ("coverage", "energy", "precision", "density", "near_copies")


def figures(train: Rows, held_out: Rows, generated: Rows) -> dict[str, float]:
    """Return the quality of generated rows, in pixels divided by 16."""
    train, held_out, generated = (rows / 16.0 for rows in (train, held_out, generated))
    found = precision_recall_density_coverage(held_out, generated, n_neighbors=5)
    return {
        "coverage": found.coverage,
        "energy": energy_distance(held_out, generated),
        "precision": found.precision,
        "density": found.density,
        "near_copies": near_copy_share(train, generated),
    }


def one_run(split: int, seed: int, n_components: int) -> dict[str, dict[str, float]]:
    """Return the figures of every contestant on one split with one seed."""
    X, y = load_digits(return_X_y=True)
    train, held_out = train_test_split(X, test_size=0.3, random_state=split, stratify=y)
    pipe = make_generative_pipeline(
        MinMaxScaler(),
        PCA(32, random_state=seed),
        AutoencoderManifold(n_components=n_components, random_state=seed),
        LatentGAN(random_state=seed),
    )
    start = time.perf_counter()
    pipe.fit(train)
    seconds = time.perf_counter() - start
    manifold, n = pipe[:-1], len(held_out)
    latents = manifold.transform(train)
    rng = np.random.RandomState(seed)
    real = figures(train, held_out, train[rng.permutation(len(train))[:n]])
    # training rows are copies of themselves; held-out ones say what chance gives
    real["near_copies"] = near_copy_share(train, held_out)
    found = {
        "LatentGAN": figures(train, held_out, pipe.sample(n, random_state=seed)),
        "real rows": real,
    }
    for name, k in (("Gaussian", 1), ("GaussianMixture(10)", 10)):
        mixture = GaussianMixture(k, random_state=seed).fit(latents)
        drawn = sample_from(mixture, n, random_state=seed)
        rows = manifold.inverse_transform(drawn.astype(np.float32))
        found[name] = figures(train, held_out, rows)
    found["LatentGAN"]["fit_seconds"] = seconds
    return found


def main() -> None:
    """Run, print means with standard deviations, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-components", type=int, default=12)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    runs = [
        one_run(split, seed, options.n_components)
        for split in range(options.splits)
        for seed in range(options.seeds)
    ]
    print(f"{options.n_components} latent dimensions, {len(runs)} runs, mean (sd)")
    print(f"{'':22}" + "".join(f"{name:>18}" for name in FIGURES))
    table: dict[str, dict[str, list[float]]] = {}
    for name in ("LatentGAN", "GaussianMixture(10)", "Gaussian", "real rows"):
        row = f"{name:22}"
        table[name] = {}
        for figure in FIGURES:
            values = np.array([run[name][figure] for run in runs])
            table[name][figure] = [float(values.mean()), float(values.std())]
            row += f"{values.mean():11.4f} ({values.std():.3f})"
        print(row)
    seconds = float(np.median([run["LatentGAN"]["fit_seconds"] for run in runs]))
    print(f"median seconds to fit the pipeline: {seconds:.1f}")
    write(
        "generation",
        {
            "n_components": options.n_components,
            "mean_and_sd": table,
            "median_fit_seconds": seconds,
        },
    )


if __name__ == "__main__":
    main()
