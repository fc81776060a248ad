"""MahalanobisScorer against EmpiricalCovariance, and scorers on corrupted digits.

The first part times three calls on 200,000 x 128 float32 rows, ours and scikit-learn's
in turn, with a rest before each: for about 0.1 s after a call of scikit-learn's the
threads of OpenBLAS keep a core busy that ours would use. ``--rest 0`` shows how much.
The second part fits to clean digits and ranks held-out digits against corruptions of
them.
"""

import argparse
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _timing import RESULTS, alternate, speed_against, write
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance, empirical_covariance
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from manifoldgen import AutoencoderManifold, MahalanobisScorer, ManifoldScorer
from manifoldgen.covariance import moments

CALLS = {
    "moments": (
        "`moments(X)`",
        "`X.mean(axis=0)` and `empirical_covariance(X)`",
    ),
    "mahalanobis": (
        "`MahalanobisScorer.mahalanobis(X)`",
        "`EmpiricalCovariance.mahalanobis(X)`",
    ),
    "fit": (
        "`MahalanobisScorer(covariance='empirical').fit(X)`: check, moments, "
        "whitening, offset of 10,000 rows, held-out moments and calibration of 10,000",
        "`EmpiricalCovariance().fit(X)`: check, moments, pseudo-inverse",
    ),
}


def gaussian_rows(n_samples: int, n_features: int) -> NDArray[np.float32]:
    """Return correlated rows of mean 0."""
    rng = np.random.default_rng(0)
    mixing = np.eye(n_features) + 0.3 / np.sqrt(n_features) * rng.standard_normal(
        (n_features, n_features)
    )
    rows = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    return rows @ mixing.astype(np.float32)


def peak_memory(call: Callable[[], Any]) -> float:
    """Return the most MB that numpy held at once beyond what it held before."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def compare_speed(
    n_samples: int, n_features: int, rounds: int, rest: float
) -> dict[str, Any]:
    """Time the three calls in turn, and compare what they return."""
    X = gaussian_rows(n_samples, n_features)
    ours = MahalanobisScorer(covariance="empirical", random_state=0).fit(X)
    peer = EmpiricalCovariance().fit(X)
    pairs = {
        "moments": (
            lambda: moments(X),
            lambda: (X.mean(axis=0), empirical_covariance(X)),
        ),
        "mahalanobis": (lambda: ours.mahalanobis(X), lambda: peer.mahalanobis(X)),
        "fit": (
            lambda: MahalanobisScorer(covariance="empirical", random_state=0).fit(X),
            lambda: EmpiricalCovariance().fit(X),
        ),
    }
    results: dict[str, Any] = {}
    for name, (mine, theirs) in pairs.items():
        seconds = alternate({"ours": mine, "peer": theirs}, rounds, rest)
        results[name] = {
            "speed": speed_against(seconds["ours"], seconds["peer"]),
            "ratio_of_medians": float(
                np.median(seconds["peer"]) / np.median(seconds["ours"])
            ),
            "seconds": {who: float(np.median(s)) for who, s in seconds.items()},
            "peak_mb": {"ours": peak_memory(mine), "peer": peak_memory(theirs)},
        }
    std = np.sqrt(peer.covariance_.diagonal())
    gap = np.abs(ours.covariance_ - peer.covariance_) / np.outer(std, std)
    distances = peer.mahalanobis(X)
    results["largest_differences"] = {
        "covariance, as correlation": float(gap.max()),
        "mahalanobis, relative": float(
            np.max(np.abs(ours.mahalanobis(X) / distances - 1))
        ),
    }
    return results


def corruptions(X: NDArray[Any], seed: int) -> dict[str, NDArray[Any]]:
    """Return corrupted copies of digits whose pixels go from 0 to 16."""
    rng = np.random.default_rng(seed)
    return {
        "noise": np.clip(X + rng.normal(0, 4, X.shape), 0, 16),
        "shuffled": rng.permuted(X, axis=1),
        "inverted": 16 - X,
    }


def score_digits(seed: int) -> dict[str, dict[str, float]]:
    """Return the AUROC of each scorer and corruption, and shares of clean rows."""
    X, y = load_digits(return_X_y=True)
    train, test = train_test_split(X, stratify=y, random_state=seed)
    default = ManifoldScorer(random_state=seed).fit(train)
    wide = ManifoldScorer(AutoencoderManifold(8), random_state=seed).fit(train)
    pixels = MahalanobisScorer(random_state=seed).fit(train)
    peer = EmpiricalCovariance().fit(train)
    scores: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
        "ManifoldScorer()": default.score_samples,
        "- its latents alone": lambda Q: default.latent_scorer_.score_samples(
            default.manifold_.transform(Q)
        ),
        "ManifoldScorer(AutoencoderManifold(8))": wide.score_samples,
        "- its latents alone ": lambda Q: wide.latent_scorer_.score_samples(
            wide.manifold_.transform(Q)
        ),
        "MahalanobisScorer() on pixels": pixels.score_samples,
        "EmpiricalCovariance() on pixels": lambda Q: -peer.mahalanobis(Q),
    }
    truth = np.r_[np.zeros(len(test)), np.ones(len(test))]
    table: dict[str, dict[str, float]] = {}
    for name, score in scores.items():
        table[name] = {
            kind: float(roc_auc_score(truth, -score(np.vstack([test, rows]))))
            for kind, rows in corruptions(test, seed).items()
        }
    for name, scorer in (
        ("ManifoldScorer()", default),
        ("ManifoldScorer(AutoencoderManifold(8))", wide),
        ("MahalanobisScorer() on pixels", pixels),
    ):
        table[name]["predict"] = float(np.mean(scorer.predict(test) == -1))
        table[name]["pvalue"] = float(np.mean(scorer.pvalue(test) <= 0.1))
    return table


def speed_table(speed: dict[str, Any]) -> list[str]:
    """Return lines of markdown."""
    lines = [
        "| call | ours, s | scikit-learn, s | times faster (quartiles) | "
        "ours, MB | scikit-learn, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name in CALLS:
        row = speed[name]
        seconds, memory, ratio = row["seconds"], row["peak_mb"], row["speed"]
        lines.append(
            f"| {name} | {seconds['ours']:.3f} | {seconds['peer']:.3f} | "
            f"{ratio['median']:.1f} ({ratio['lower']:.1f} to {ratio['upper']:.1f}) | "
            f"{memory['ours']:.0f} | {memory['peer']:.0f} |"
        )
    lines += [
        "",
        *(f"- {n}: {mine}, against {peer}." for n, (mine, peer) in CALLS.items()),
    ]
    gaps = speed["largest_differences"].items()
    return [*lines, "", *(f"- largest difference, {n}: {v:.1e}" for n, v in gaps)]


def digits_table(runs: list[dict[str, dict[str, float]]]) -> list[str]:
    """Return lines of markdown: mean and least of the runs."""
    kinds = ("noise", "shuffled", "inverted", "predict", "pvalue")
    lines = [
        "| scorer | noise | shuffled | inverted | clean rows that predict flags | "
        "clean rows with pvalue <= .1 |",
        "|---|---|---|---|---|---|",
    ]
    for name in runs[0]:
        row = f"| {name.strip()} |"
        for kind in kinds:
            values = [run[name].get(kind, np.nan) for run in runs]
            least = f" (least {min(values):.4f})" if kind in kinds[:3] else ""
            row += f" {np.mean(values):.4f}{least} |"
        lines.append(row.replace(" nan |", " |"))
    return lines


def main() -> None:
    """Run both parts, print their tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rest", type=float, default=0.3, help="seconds")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    speed = compare_speed(options.rows, options.columns, options.rounds, options.rest)
    runs = [score_digits(seed) for seed in range(options.seeds)]
    lines = [
        "# Scoring",
        "",
        f"{options.rows} x {options.columns} float32, {options.rounds} alternations "
        f"with {options.rest} s of rest before each call, medians; memory is numpy's, "
        "beyond X.",
        "",
        *speed_table(speed),
        "",
        f"AUROC of clean against corrupted held-out digits, {options.seeds} splits.",
        "",
        *digits_table(runs),
    ]
    print("\n".join(lines))
    write("scoring", {"speed": speed, "digits": runs})
    (RESULTS / "scoring.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
