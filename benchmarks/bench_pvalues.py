"""Do p-values of new rows keep what they promise?

One fresh row is scored by each of 500 independent fits, because p-values that share a
fit depend on each other, in 10, 30 and 64 columns with twice and with fifty times as
many rows. Rows are Gaussian of correlated columns for the F law, which is exact for
them; for the others they have heavy tails (Student's t, 3 degrees of freedom) and the
second half of the columns is made of squares of the first, so that no law would fit.

- "f": `MahalanobisScorer(covariance="empirical", pvalue_method="f")`. Kolmogorov's and
  Smirnov's test of uniform p-values should not reject: p > .01.
- "chi2" is the law that others take: what it would say of the same distances.
- "conformal", "groups" (two halves of the columns, by Fisher's combination), "classes"
  (two classes, relative) and "detector" (`ScoreOutlierDetector` of what PCA leaves
  over), all with half of the rows to calibrate where they are few and a fifth else:
  the share of p-values of at most .05, .1 and .2 should be within 3 standard errors of
  ``floor(rate (m + 1)) / (m + 1)`` for m calibration rows, which split conformal
  p-values guarantee where distances have no ties.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from _timing import table, write, write_text
from numpy.typing import NDArray
from scipy.stats import chi2, kstest
from sklearn.decomposition import PCA

from manifoldgen import MahalanobisScorer, ScoreOutlierDetector

RATES = (0.05, 0.1, 0.2)
COLUMNS = (10, 30, 64)
TIMES = (2, 50)
Rows = NDArray[np.float64]


def gaussian(n: int, d: int, rng: np.random.Generator) -> Rows:
    """Return Gaussian rows of correlated columns of several units."""
    noise = np.random.default_rng(d).standard_normal((d, d))
    mixing = np.eye(d) + 0.5 * noise / np.sqrt(d)  # not singular at any width
    return rng.standard_normal((n, d)) @ mixing * np.arange(1, d + 1) + 5.0


def heavy(n: int, d: int, rng: np.random.Generator) -> Rows:
    """Return rows of heavy tails, half of whose columns are squares of the others."""
    rows = rng.standard_t(3, size=(n, d))
    rows[:, d // 2 :] = rows[:, : d - d // 2] ** 2
    return rows


def conformal_scorers(d: int, fraction: float) -> dict[str, Any]:
    """Return unfitted scorers with conformal p-values."""
    residual = {"score_method": "reconstruction_error"}
    scorers = {
        "conformal": MahalanobisScorer(),
        "groups": MahalanobisScorer(groups=(d // 2, d - d // 2)),
        "classes": MahalanobisScorer(class_conditional=True, relative=True),
        "detector": ScoreOutlierDetector(PCA(d // 3), **residual),
    }
    for scorer in scorers.values():
        scorer.set_params(calibration_fraction=fraction)
    return scorers


def pvalues_of(
    scorer: Any,
    draw: Callable[[int, int, np.random.Generator], Rows],
    n: int,
    d: int,
    n_fits: int,
) -> tuple[Rows, Rows]:
    """Return the p-value and the distance of one fresh row of each fit."""
    rng = np.random.default_rng([n, d])
    labels = np.arange(n) % 2
    pvalues, distances = np.empty(n_fits), np.empty(n_fits)
    for number in range(n_fits):
        rows = draw(n + 1, d, rng)
        scorer.set_params(random_state=number).fit(rows[:n], labels)
        pvalues[number] = scorer.pvalue(rows[n:])[0]
        distances[number] = -scorer.score_samples(rows[n:])[0]
    return pvalues, distances


def gaussian_law(n: int, d: int, n_fits: int) -> dict[str, Any]:
    """Return how uniform p-values of the F law are, and those of chi-squared."""
    scorer = MahalanobisScorer(covariance="empirical", pvalue_method="f")
    pvalues, distances = pvalues_of(scorer, gaussian, n, d, n_fits)
    others = chi2.sf(distances, d)
    return {
        "f": float(kstest(pvalues, "uniform").pvalue),
        "chi2": float(kstest(others, "uniform").pvalue),
        "share of f at most .05": float(np.mean(pvalues <= 0.05)),
        "share of chi2 at most .05": float(np.mean(others <= 0.05)),
    }


def conformal_rates(scorer: Any, n: int, d: int, n_fits: int) -> dict[str, Any]:
    """Return the share flagged at each rate, and how far it is from its guarantee."""
    pvalues, _ = pvalues_of(scorer, heavy, n, d, n_fits)
    m = len(scorer._calibration())
    found: dict[str, Any] = {"calibration rows": m}
    for rate in RATES:
        guarantee = np.floor(rate * (m + 1) + 1e-9) / (m + 1)
        flagged = float(np.mean(pvalues <= rate + 1e-12))
        error = np.sqrt(guarantee * (1 - guarantee) / n_fits)
        # a guarantee of 0, where calibration rows are too few, is kept by 0 alone
        gap = (flagged - guarantee) / error if error else np.inf * bool(flagged)
        found[str(rate)] = {
            "guarantee": float(guarantee),
            "flagged": flagged,
            "standard errors": float(gap) if np.isfinite(gap) else None,
            "kept": bool(flagged == guarantee or abs(gap) <= 3),
        }
    return found


def in_words(results: dict[str, Any]) -> str:
    """Return the results as tables in markdown."""
    law = [
        [d, n, *(f"{value:.3g}" for value in found.values())]
        for d, by_n in results["gaussian"].items()
        for n, found in by_n.items()
    ]
    columns = ["columns", "rows", "F: KS p", "chi2: KS p", "F <= .05", "chi2 <= .05"]
    parts = [__doc__ or "", table(columns, law)]
    rates = []
    for name, by_d in results["conformal"].items():
        for d, by_n in by_d.items():
            for n, found in by_n.items():
                line = [name, d, n, found["calibration rows"]]
                for rate in map(str, RATES):
                    it = found[rate]
                    mark = "" if it["kept"] else " (missed)"
                    line.append(f"{it['flagged']:.3f} of {it['guarantee']:.3f}{mark}")
                rates.append(line)
    heads = ["p-values", "columns", "rows", "calibration rows"]
    parts.append(table([*heads, *(f"at most {rate:g}" for rate in RATES)], rates))
    kept = [
        it[str(rate)]["kept"]
        for by_d in results["conformal"].values()
        for by_n in by_d.values()
        for it in by_n.values()
        for rate in RATES
    ]
    uniform = [float(line[2]) > 0.01 for line in law]
    parts.append(
        f"F is uniform in {sum(uniform)} of {len(uniform)} settings; conformal rates "
        f"are within 3 standard errors of their guarantee in {sum(kept)} of "
        f"{len(kept)}. {results['fits']} fits each."
    )
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=500)
    n_fits = parser.parse_args().fits
    results: dict[str, Any] = {"fits": n_fits, "gaussian": {}, "conformal": {}}
    for d in COLUMNS:
        for times in TIMES:
            n = times * d
            law = gaussian_law(n, d, n_fits)
            results["gaussian"].setdefault(str(d), {})[str(n)] = law
            print(d, n, law, flush=True)
            fraction = 0.5 if times == 2 else 0.2
            for name, scorer in conformal_scorers(d, fraction).items():
                if name == "groups" and n * fraction < 20:
                    continue  # fewer than groups take
                found = conformal_rates(scorer, n, d, n_fits)
                by_n = results["conformal"].setdefault(name, {}).setdefault(str(d), {})
                by_n[str(n)] = found
                print(d, n, name, found, flush=True)
    write("pvalues", results)
    write_text("pvalues.md", in_words(results))


if __name__ == "__main__":
    main()
