"""Whether a generator gives its training rows away, and how sure that is."""

import json
import math
import os
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, norm

from .._arrays import container_of, flatten_images
from .._validation import check_int
from ..metrics._memorization import auc_error, auc_of, distances_to, near_copies
from ..metrics._rows import Features, feature_rows, same_columns
from ..neighbors import NeighborIndex, Neighbors
from ..persistence._container import replace_file
from ..pipeline import sample_from
from ._figures import Figures, Rows

if TYPE_CHECKING:
    from ..plotting import MemorisationReportDisplay

_QUANTILES = {"distance_q01": 0.01, "distance_q05": 0.05, "distance_q50": 0.5}
_ERRORS = 3.0  # standard errors above chance that are called copying
_LEVEL = float(norm.sf(_ERRORS))
_CLOSEST_SHARE, _CLOSEST_LEAST = 0.01, 20  # of the real rows, nearest to generated ones
_NEAREST = 3  # training rows beside each example
_VALUES = 2**20  # compared at once
_ARGUMENTS = {"generated": "X_generated", "held_out": "X_test"}
_COLUMNS = {"generated": "generated", "held_out": "held out", "training": "training"}
_LINES = {
    "exact_copies": "equal to a training row",
    "near_copy_share": "near copies, share",
    "near_copy_share_error": "  its standard error",
    "distance_q01": "distance, nearest 1 %",
    "distance_q05": "distance, nearest 5 %",
    "distance_q50": "distance, median",
}


@dataclass(frozen=True)
class MemorisationReport:
    """What `memorisation_report` returns: signs of copying beside those of real rows.

    Printed, it is a table that ends in a verdict.

    Parameters
    ----------
    figures : dict of str to dict of str to float or None
        By row of the table: "generated" rows; "held_out" ones, where there are any; and
        "training" rows, each against all others. Of each, how many are equal to a
        training row, ``exact_copies``; the ``near_copy_share`` of `near_copy_share` and
        its ``near_copy_share_error``; and how far from the nearest training row the
        nearest hundredth, the nearest twentieth and half of them are at most,
        ``distance_q01``, ``distance_q05`` and ``distance_q50``. Generated rows have
        ``ratio_q01`` and so on too: their distances over those of held-out rows, or
        without these of training rows; None over 0.
    attack : dict of str to float
        How well rows that were trained on are told from held-out ones by generated rows
        alone; empty without held-out rows. ``membership_auc`` is .5 where nothing
        leaks, with a standard error of ``membership_auc_error``. Of the ``n_closest``
        real rows nearest to a generated one, ``closest_share`` are training rows;
        ``closest_chance`` of all real rows are, and by chance as many or more would
        come with ``closest_p_value``.
    n_samples : dict of str to int
        How many rows each is of.
    distances : dict of str to ndarray of shape (n,), default=None
        Of each row to the nearest training row, by row of the table.
    examples : dict of str to ndarray, default=None
        Some pairs that lie closest, no two with the same training row: "generated" rows
        of shape (m, ...) in the layout of X_train, the "nearest" training rows
        (m, k, ...), their "distances" (m, k), and "indices" (m, k) of them in X_train.

    See Also
    --------
    memorisation_report : What the verdict comes from.

    Examples
    --------
    >>> from manifoldgen import MemorisationReport
    >>> figures = {
    ...     "generated": {"exact_copies": 2.0, "near_copy_share": 0.5},
    ...     "training": {"exact_copies": 0.0, "near_copy_share": 0.5},
    ... }
    >>> report = MemorisationReport(figures, {}, {"generated": 9, "training": 9})
    >>> print(report.verdict)
    copies: 2 of 9 generated rows equal a training row, though no real rows are equal
    """

    figures: dict[str, Figures]
    attack: dict[str, float]
    n_samples: dict[str, int]
    distances: dict[str, NDArray[np.float64]] | None = field(
        default=None, compare=False, repr=False
    )
    examples: dict[str, NDArray[Any]] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def copies(self) -> bool | None:
        """Whether there is a sign of copying; None where most cannot be looked for."""
        if self._signs():
            return True
        return False if self.attack else None

    @property
    def verdict(self) -> str:
        """What was found, as a sentence."""
        signs = self._signs()
        if signs:
            return "copies: " + "; ".join(signs)
        if self.attack:
            return "no sign of copying"
        return (
            "no exact copies; whether it copies is not known without X_test, rows that "
            "it never saw"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the verdict as plain data.

        Returns
        -------
        document : dict
            With the keys "figures", "attack", "n_samples", "copies" and "verdict".
        """
        document = {
            "figures": {row: dict(it) for row, it in self.figures.items()},
            "attack": dict(self.attack),
            "n_samples": dict(self.n_samples),
        }
        return {**document, "copies": self.copies, "verdict": self.verdict}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return what `to_dict` does as JSON.

        Parameters
        ----------
        path : str or path-like, default=None
            Where to write it too; a file that is there is replaced whole or, where
            writing fails, stays.

        Returns
        -------
        text : str
            What is not known is null; there is no NaN.

        Raises
        ------
        OSError
            If `path` cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        if path is not None:
            replace_file(path, [text.encode()])
        return text

    def plot(self, **kwargs: Any) -> "MemorisationReportDisplay":
        """Draw the closest pairs beside the distances of all rows.

        Parameters
        ----------
        **kwargs
            Handed to `MemorisationReportDisplay.from_report`, such as ``image_shape``.

        Returns
        -------
        display : MemorisationReportDisplay
        """
        from ..plotting import MemorisationReportDisplay

        return MemorisationReportDisplay.from_report(self, **kwargs)

    def __str__(self) -> str:
        rows = list(self.figures)
        lines = [" " * 26 + "".join(f"{_COLUMNS[row]:>12}" for row in rows)]
        counts = "".join(f"{self.n_samples[row]:>12}" for row in rows)
        lines.append(f"{'rows':<26}{counts}")
        for name, text in _LINES.items():
            cells = "".join(
                f"{_short(self.figures[row].get(name)):>12}" for row in rows
            )
            lines.append(f"{text:<26}{cells}")
        wrapped = textwrap.wrap(self.verdict, 80)
        return "\n".join([*lines, "", *self._lines_of_attack(), *wrapped])

    def _lines_of_attack(self) -> list[str]:
        it = self.attack
        if not it:
            return []
        return [
            f"membership AUC {it['membership_auc']:.3f}; {0.5:.3f} ± "
            f"{it['membership_auc_error']:.3f} where nothing leaks",
            f"training rows among the {it['n_closest']:.0f} real rows nearest to "
            f"generated ones: {it['closest_share']:.0%};",
            f"among all {it['closest_chance']:.0%}, p = {it['closest_p_value']:.2g}",
            "",
        ]

    def _signs(self) -> list[str]:
        """Return what speaks for copying, each in words."""
        signs = []
        copied = self.figures["generated"]["exact_copies"] or 0
        real = (
            it["exact_copies"] for row, it in self.figures.items() if row != "generated"
        )
        if copied and not any(real):
            signs.append(
                f"{copied:.0f} of {self.n_samples['generated']} generated rows equal a "
                "training row, though no real rows are equal"
            )
        it = self.attack
        if not it:
            return signs
        above = (it["membership_auc"] - 0.5) / it["membership_auc_error"]
        if above > _ERRORS:
            signs.append(
                f"training rows are told from held-out ones, AUC "
                f"{it['membership_auc']:.3f}, {above:.1f} standard errors above chance"
            )
        if it["closest_p_value"] < _LEVEL:
            signs.append(
                f"of the {it['n_closest']:.0f} real rows nearest to generated ones "
                f"{it['closest_share']:.0%} are training rows, "
                f"{it['closest_chance']:.0%} by chance"
            )
        return signs


def memorisation_report(
    X_generated: Any,
    X_train: Any,
    X_test: Any = None,
    *,
    features: Features = None,
    n_examples: int = 8,
    random_state: Any = 0,
) -> MemorisationReport:
    """Return whether generated rows give training rows away, beside real rows.

    It copies, says the verdict, where one of three signs is there. Training rows are
    nearer to generated ones than held-out rows are: their `membership_auc` is more than
    3 standard errors above .5. Or among the real rows nearest to a generated one (a
    hundredth of them, 20 at least) there are more training rows than chance allows once
    in 740 times, which finds a few copies that an average does not show. Or a generated
    row equals a training row, though no held-out row does and all training rows differ.
    Without a leak the first two come by chance in 27 of 10,000 reports or so, whatever
    the generator is, if held-out rows were taken from the data at random: rows of later
    days or other people are told from training rows without any leak.

    The share of near copies and the distances are no part of the verdict: a generator
    that is smoother than data, or worse, changes them without a copy. A network that
    overfits leaks without drawing a single copy, which the first sign finds.

    Parameters
    ----------
    X_generated : array-like of shape (n_generated, n_features), or fitted generator
        Generated rows or images: the more, the more is found. As many rows as `X_train`
        has are drawn of a generator, whatever `sample_from` takes.
    X_train : array-like of shape (n_train, n_features), data frame or images
        Rows that the generator was fitted on, at least 3.
    X_test : array-like of shape (n_test, n_features), default=None
        Rows of the same distribution that it never saw, not even to stop training or to
        choose among generators. Without them only exact copies can be told.
    features : callable, default=None
        Maps each sample, as it was given, to an array with one row of features for each
        of its rows; distances are then of these. Copies that are shifted or dimmed are
        found in features which do not see that.
    n_examples : int, default=8
        Closest pairs that the report holds, at most.
    random_state : int, RandomState or None, default=0
        Decides what a generator draws.

    Returns
    -------
    report : MemorisationReport
        Its time grows with the square of the rows, its memory is a few blocks of pairs
        beside copies of the rows.

    Raises
    ------
    AttributeError
        If the generator has no `sample`, or a step before it cannot be inverted.
    NotFittedError
        If the generator is not fitted.
    ValueError
        If there are fewer than 3 training rows, the columns do not match, a value is
        not finite, or `features` does not return one row for each.

    Notes
    -----
    Distances are Euclidean in the units of the columns, so divide columns of several
    units by their spread first. Rows are compared in float32 where one is of that type.
    That no sign was found does not prove that there is none: other attacks see more.

    References
    ----------
    .. [1] D. Chen, N. Yu, Y. Zhang, M. Fritz, "GAN-Leaks: A Taxonomy of Membership
       Inference Attacks against Generative Models", CCS 2020, arXiv:1909.03935.
    .. [2] N. Carlini et al., "Membership Inference Attacks From First Principles",
       IEEE S&P 2022, arXiv:2112.03570, on judging an attack where it is surest. We
       count training rows among a number of rows and not at a rate of false alarms.

    Examples
    --------
    >>> from manifoldgen import memorisation_report
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.neighbors import KernelDensity
    >>> from sklearn.model_selection import train_test_split
    >>> X, _ = load_digits(return_X_y=True)
    >>> X_train, X_test = train_test_split(X, train_size=600, random_state=0)
    >>> mixture = GaussianMixture(3, covariance_type="diag", random_state=0)
    >>> memorisation_report(mixture.fit(X_train), X_train, X_test).verdict
    'no sign of copying'
    >>> kernels = KernelDensity(bandwidth=0.5).fit(X_train)
    >>> memorisation_report(kernels, X_train, X_test).copies
    True
    """
    n_examples = check_int("n_examples", n_examples, 0)
    train = feature_rows("X_train", X_train, features, 3)
    if hasattr(X_generated, "sample") and container_of(X_generated) is None:
        n = len(train)
        X_generated = sample_from(X_generated, n, random_state=random_state)
    given = {"generated": X_generated}
    if X_test is not None:
        given["held_out"] = X_test
    judged = {
        row: feature_rows(_ARGUMENTS[row], X, features) for row, X in given.items()
    }
    for row, rows in judged.items():
        same_columns("X_train", train, _ARGUMENTS[row], rows)
    index = NeighborIndex.build(train)
    others = index.query_itself(2)
    found = {row: index.query(rows, 1) for row, rows in judged.items()}
    near = {row: near_copies(it, others.distances[:, 0]) for row, it in found.items()}
    found["training"], near["training"] = others, _near_others(others)
    given["training"] = X_train
    figures = {
        row: _figures(_equal(X, X_train, found[row]), near[row], found[row])
        for row, X in given.items()
    }
    figures["generated"] |= _ratios(figures)
    return MemorisationReport(
        figures=figures,
        attack=_attack(train, judged.get("held_out"), judged["generated"]),
        n_samples={row: len(it.indices) for row, it in found.items()},
        distances={row: it.distances[:, 0] for row, it in found.items()},
        examples=_examples(
            X_generated,
            X_train,
            judged["generated"],
            found["generated"],
            index,
            n_examples,
        ),
    )


def _equal(X: Any, X_train: Any, nearest: Neighbors) -> NDArray[np.bool_]:
    """Return which rows equal the training row nearest to them, value by value."""
    rows, train = (np.asarray(flatten_images(it)[0]) for it in (X, X_train))
    same_columns("X_train", train, "the rows to compare", rows)
    both = (rows, train)
    if any(it.dtype == np.float32 for it in both):  # the other may not be exact in it
        rows, train = (it.astype(np.float32, copy=False) for it in both)
    step = max(1, _VALUES // max(rows.shape[1], 1))
    equal = [
        (rows[start : start + step] == train[indices]).all(axis=1)
        for start in range(0, len(rows), step)
        for indices in [nearest.indices[start : start + step, 0]]
    ]
    return np.concatenate(equal)


def _near_others(others: Neighbors) -> NDArray[np.bool_]:
    """Return which training rows nearly repeat another, were they held out.

    Parameters
    ----------
    others : Neighbors
        The two rows nearest to each among the others.
    """
    nearest = others.indices[:, 0]
    # without the row itself its neighbour may have another one
    itself = others.indices[nearest, 0] == np.arange(len(nearest))
    to_other = others.distances[nearest, itself.astype(np.intp)]
    return others.distances[:, 0] <= to_other


def _figures(
    equal: NDArray[np.bool_], near: NDArray[np.bool_], nearest: Neighbors
) -> Figures:
    share = float(np.mean(near))
    distances = nearest.distances[:, 0]
    return {
        "exact_copies": float(np.sum(equal)),
        "near_copy_share": share,
        "near_copy_share_error": math.sqrt(share * (1 - share) / len(near)),
        **{name: float(np.quantile(distances, q)) for name, q in _QUANTILES.items()},
    }


def _ratios(figures: dict[str, Figures]) -> Figures:
    """Return the distances of generated rows over those of real ones."""
    real = figures["held_out" if "held_out" in figures else "training"]
    ratios: Figures = {}
    for name in _QUANTILES:
        drawn, unit = figures["generated"][name], real[name]
        ratio = drawn / unit if drawn is not None and unit else None
        ratios[name.replace("distance", "ratio")] = ratio
    return ratios


def _attack(train: Rows, test: Rows | None, generated: Rows) -> dict[str, float]:
    """Return how well training rows are told from others by generated ones."""
    if test is None:
        return {}
    of_train, of_test = distances_to(generated, train, test)
    n_train, n_test = len(train), len(test)
    both = np.sort(np.concatenate([of_train, of_test]))
    n = min(max(_CLOSEST_LEAST, math.ceil(_CLOSEST_SHARE * len(both))), len(both) // 2)
    reach = both[max(n, 1) - 1]  # rows that are equally near all count
    members, n = int(np.sum(of_train <= reach)), int(np.sum(both <= reach))
    by_chance = hypergeom.sf(members - 1, n_train + n_test, n_train, n)
    return {
        "membership_auc": auc_of(of_train, of_test),
        "membership_auc_error": auc_error(n_train, n_test),
        "n_closest": float(n),
        "closest_share": members / n,
        "closest_chance": n_train / (n_train + n_test),
        "closest_p_value": float(by_chance),
    }


def _examples(
    X_generated: Any,
    X_train: Any,
    generated: Rows,
    nearest: Neighbors,
    index: NeighborIndex,
    n_examples: int,
) -> dict[str, NDArray[Any]] | None:
    """Return the closest pairs, of each training row one, in the layout of X_train."""
    if n_examples == 0:
        return None
    order = np.argsort(nearest.distances[:, 0], kind="stable")
    firsts = np.unique(nearest.indices[order, 0], return_index=True)[1]
    chosen = order[np.sort(firsts)[:n_examples]]
    found = index.query(generated[chosen], min(_NEAREST, index.n_samples))
    train = np.asarray(X_train)
    return {
        "generated": np.asarray(X_generated)[chosen].reshape(-1, *train.shape[1:]),
        "nearest": train[found.indices],
        "distances": found.distances,
        "indices": found.indices,
    }


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
