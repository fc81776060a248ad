"""GridSearchCV over the latent dimension of a whole pipeline, on the digits.

Prints the table of the search, what one standard error chooses by the coverage of
pixels, which share a unit, how far the choice is above 2 dimensions, and whether 1 and
2 workers give the same scores. Beside it, the coverage of standardised columns, where
the pixels at the border, almost always 0, weigh as much as those in the middle.
"""

import argparse
import re
import time
from typing import Any

import numpy as np
import torch
from _timing import write
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import MinMaxScaler

from manifoldgen import (
    AutoencoderManifold,
    LatentGAN,
    generation_scorer,
    make_generative_pipeline,
    one_standard_error,
)

PARAMETER = "autoencodermanifold__n_components"
WIDTHS = [2, 4, 8, 16, 32]


def search(n_jobs: int, n_splits: int) -> GridSearchCV:
    """Fit the search with one torch thread in each worker."""
    X, _ = load_digits(return_X_y=True)
    pipe = make_generative_pipeline(
        MinMaxScaler(),
        PCA(32, random_state=0),
        AutoencoderManifold(random_state=0),
        LatentGAN(random_state=0),
    )
    return GridSearchCV(
        pipe,
        {PARAMETER: WIDTHS},
        scoring={
            "pixels": generation_scorer("coverage", standardize=False),
            "standardised": generation_scorer("coverage"),
        },
        refit=one_standard_error(PARAMETER, metric="pixels"),
        cv=KFold(n_splits, shuffle=True, random_state=0),
        n_jobs=n_jobs,
    ).fit(X)


def main() -> None:
    """Run with two workers and with one, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results, seconds = {}, {}
    for n_jobs in (2, 1):
        start = time.perf_counter()
        fitted = search(n_jobs, options.splits)
        seconds[n_jobs] = time.perf_counter() - start
        results[n_jobs] = fitted.cv_results_
    equal = all(
        np.array_equal(results[1][name], results[2][name])
        for name in results[1]
        if name.startswith("split")
    )
    found = {name: table(name, results[1]) for name in ("pixels", "standardised")}
    print(f"scores of 1 and 2 workers bit-equal: {equal}")
    print(f"seconds: {seconds[1]:.0f} with 1 worker, {seconds[2]:.0f} with 2")
    write(
        "latent_dimension",
        {
            "widths": WIDTHS,
            "coverage": found,
            "bit_equal_for_1_and_2_workers": equal,
            "seconds": seconds,
        },
    )


def table(name: str, results: dict[str, Any]) -> dict[str, Any]:
    """Print and return the scores, and how far the choice by them is above 2."""
    splits = np.array([v for k, v in results.items() if re.match(rf"split.*{name}", k)])
    mean, error = splits.mean(axis=0), splits.std(axis=0) / np.sqrt(len(splits))
    chosen = one_standard_error(PARAMETER, metric=name)(results)
    difference = mean[chosen] - mean[0]
    paired = (splits[:, chosen] - splits[:, 0]).std(ddof=1) / np.sqrt(len(splits))
    above = {
        "of the choice": difference / error[chosen],
        "of two means": difference / np.hypot(error[chosen], error[0]),
        "of paired folds": difference / paired if paired else float("nan"),
    }
    print(f"\n{name}\nwidth  mean coverage  standard error")
    for width, value, spread in zip(WIDTHS, mean, error, strict=True):
        print(f"{width:5d}  {value:13.4f}  {spread:14.4f}")
    print(f"chosen: {WIDTHS[chosen]}; standard errors above 2:", end=" ")
    print(", ".join(f"{value:.1f} {kind}" for kind, value in above.items()))
    return {
        "mean": mean.tolist(),
        "standard_error": error.tolist(),
        "chosen": WIDTHS[chosen],
        "standard_errors_above_2": above,
    }


if __name__ == "__main__":
    main()
