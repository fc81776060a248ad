"""GridSearchCV over the latent dimension of a whole pipeline, on the digits.

Prints the table of the search, what one standard error chooses, how far the choice is
above 2 dimensions, and whether 1 and 2 workers give the same scores.
"""

import argparse
import time

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
        scoring=generation_scorer("coverage"),
        refit=one_standard_error(PARAMETER),
        cv=KFold(n_splits, shuffle=True, random_state=0),
        n_jobs=n_jobs,
    ).fit(X)


def main() -> None:
    """Run with two workers and with one, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scores, seconds = {}, {}
    for n_jobs in (2, 1):
        start = time.perf_counter()
        fitted = search(n_jobs, options.splits)
        seconds[n_jobs] = time.perf_counter() - start
        names = [f"split{i}_test_score" for i in range(options.splits)]
        scores[n_jobs] = np.array([fitted.cv_results_[name] for name in names])
    mean = scores[1].mean(axis=0)
    error = scores[1].std(axis=0) / np.sqrt(options.splits)
    print("width  mean coverage  standard error")
    for width, value, spread in zip(WIDTHS, mean, error, strict=True):
        print(f"{width:5d}  {value:13.4f}  {spread:14.4f}")
    chosen = fitted.best_params_[PARAMETER]
    at = WIDTHS.index(chosen)
    above = (mean[at] - mean[0]) / np.hypot(error[at], error[0])
    equal = bool(np.array_equal(scores[1], scores[2]))
    print(f"chosen: {chosen}, {above:.1f} standard errors (of the difference) above 2")
    print(f"scores of 1 and 2 workers bit-equal: {equal}")
    print(f"seconds: {seconds[1]:.0f} with 1 worker, {seconds[2]:.0f} with 2")
    write(
        "latent_dimension",
        {
            "widths": WIDTHS,
            "mean_coverage": mean.tolist(),
            "standard_error": error.tolist(),
            "chosen": chosen,
            "standard_errors_above_2": float(above),
            "bit_equal_for_1_and_2_workers": equal,
            "seconds": seconds,
        },
    )


if __name__ == "__main__":
    main()
