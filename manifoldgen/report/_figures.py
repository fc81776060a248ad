"""The figures of a report, from rows that are numbers of one unit already."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._random import isolated_streams
from ..metrics import (
    classifier_two_sample_test,
    energy_distance,
    frechet_distance,
    kernel_distance,
    membership_auc,
    mode_coverage,
    near_copy_share,
    precision_recall_density_coverage,
    sliced_wasserstein,
    train_on_synthetic,
)
from ..metrics._memorization import auc_error

Rows = NDArray[np.float64]
Figures = dict[str, float | None]


@dataclass(frozen=True)
class Timed:
    """Calls functions and adds up what they took, in seconds by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, name: str, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """Return ``function(*args, **kwargs)``, its seconds counted under `name`."""
        start = time.perf_counter()
        result = function(*args, **kwargs)
        spent = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        return result


@dataclass(frozen=True)
class Case:
    """Real and generated rows, and how they are judged.

    Parameters
    ----------
    real, generated : ndarray of shape (n, n_features), float64
        Held-out rows, and as many generated ones.
    reconstruction : ndarray of shape (n, n_features), float64, or None
        The held-out rows after the way to latent space and back.
    train : ndarray of shape (n_train, n_features), float64, or None
        The rows that the generator was fitted on.
    y, y_train : ndarray of labels of `real` and of `train`, or None
    by_label : bool
        Whether the labels of `generated` are `y`, too.
    n_neighbors : int
    seed : int
    classifier : estimator or None
        Unfitted; None is a logistic regression.
    timed : Timed
    """

    real: Rows
    generated: Rows
    reconstruction: Rows | None
    train: Rows | None
    y: NDArray[Any] | None
    y_train: NDArray[Any] | None
    by_label: bool
    n_neighbors: int
    seed: int
    classifier: Any
    timed: Timed

    def figures(self) -> tuple[dict[str, Figures], dict[str, int]]:
        """Return the figures by row of the table, and of how many rows each is."""
        judged = {"generated": (self.real, self.generated)}
        if self.reconstruction is not None:
            judged["reconstruction"] = (self.real, self.reconstruction)
        judged.update(self._stand_ins())
        figures = {
            row: self._against_real(*pair, paired=row == "reconstruction")
            for row, pair in judged.items()
        }
        for extra in (self._modes(), self._downstream(), self._copies()):
            for row, values in extra.items():
                figures[row].update(values)
        plain = {row: _plain(values) for row, values in figures.items()}
        return plain, {row: len(rows) for row, (_, rows) in judged.items()}

    def by_class(self) -> dict[Any, dict[str, Figures]]:
        """Return the figures of each class; empty where there are no labels."""
        if self.y is None:
            return {}
        named = self._judge.predict(self.generated)
        result: dict[Any, dict[str, Figures]] = {}
        for label in np.unique(self.y):
            real = self.real[self.y == label]
            rows: dict[str, Figures] = {
                "generated": {"share": float(np.mean(named == label))},
                "real": {"share": len(real) / len(self.y)},
            }
            if self.by_label:
                drawn = self.generated[self.y == label]
                rows["generated"].update(self._of_class(real, drawn))
            if self.train is not None and self.y_train is not None:
                others = self._some(self.train[self.y_train == label], len(real))
                rows["real"].update(self._of_class(real, others))
            result[label.item() if hasattr(label, "item") else label] = rows
        return result

    def _stand_ins(self) -> dict[str, tuple[Rows, Rows]]:
        """Return the real rows that stand in the place of generated ones."""
        if self.train is not None:
            return {"real": (self.real, self.train[self._chosen()])}
        first, second = self._halves()
        if min(len(first), len(second)) <= self.n_neighbors:
            return {}
        return {"halves": (first, second)}

    def _chosen(self) -> NDArray[np.intp]:
        """Return the positions of as many training rows as are held out, or of all."""
        rng = np.random.RandomState(self.seed)
        n = 0 if self.train is None else len(self.train)
        return rng.permutation(n)[: len(self.real)]

    def _halves(self) -> tuple[Rows, Rows]:
        order = np.random.RandomState(self.seed).permutation(len(self.real))
        half = len(order) // 2
        return self.real[order[:half]], self.real[order[half:]]

    def _some(self, rows: Rows, most: int) -> Rows:
        order = np.random.RandomState(self.seed).permutation(len(rows))
        return rows[np.sort(order[:most])]

    def _against_real(self, real: Rows, rows: Rows, paired: bool) -> dict[str, Any]:
        # the first to be refused are too few rows and copies of rows
        figures = self._shares(real, rows)
        for function in (frechet_distance, kernel_distance, energy_distance):
            name = function.__name__
            figures[name] = self.timed(name, function, real, rows)
        figures["sliced_wasserstein"] = self.timed(
            "sliced_wasserstein", sliced_wasserstein, real, rows, random_state=self.seed
        )
        if not paired:
            test = self.timed(
                "classifier_two_sample_test",
                classifier_two_sample_test,
                real,
                rows,
                random_state=self.seed,
            )
            figures["two_sample_accuracy"] = test.accuracy
            figures["two_sample_p_value"] = test.p_value
        return figures

    def _shares(self, real: Rows, rows: Rows) -> dict[str, Any]:
        function = precision_recall_density_coverage
        name = function.__name__
        shares = self.timed(name, function, real, rows, n_neighbors=self.n_neighbors)
        return dict(shares._asdict())

    def _of_class(self, real: Rows, rows: Rows) -> Figures:
        n, (_, n_columns) = min(len(real), len(rows)), real.shape
        figures: dict[str, Any] = {}
        if n > self.n_neighbors:
            figures.update(self._shares(real, rows))
        if n > n_columns:  # of fewer the distance is mostly noise
            name = "frechet_distance"
            figures[name] = self.timed(name, frechet_distance, real, rows)
        return _plain(figures)

    def _modes(self) -> dict[str, dict[str, Any]]:
        """Return which classes come, as a classifier of real rows names them."""
        if self.y is None:
            return {}
        named = {"generated": self.generated}
        if self.y_train is not None:  # a judge that was trained on them is no measure
            named["real"] = self.real
        figures: dict[str, dict[str, Any]] = {}
        for row, rows in named.items():
            modes = self.timed(
                "mode_coverage", mode_coverage, rows, self._judge, y_real=self.y
            )
            figures[row] = {
                "modes_covered": modes.n_covered / len(np.unique(self.y)),
                "mode_divergence": modes.kl_divergence,
            }
            if self.by_label:
                figures[row]["label_agreement"] = np.mean(
                    self._judge.predict(rows) == self.y
                )
        return figures

    @cached_property
    def _judge(self) -> Any:
        """A classifier fitted on real rows: those of training where it can be."""
        model = self.classifier
        if model is None:
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        rows, labels = self.real, self.y
        if self.train is not None and self.y_train is not None:
            # what it may say must be a class of the held-out rows
            kept = np.isin(self.y_train, np.unique(np.asarray(self.y)))
            rows, labels = self.train[kept], self.y_train[kept]
        with isolated_streams(self.seed):
            return self.timed("classifier", clone(model).fit, rows, labels)

    def _downstream(self) -> dict[str, dict[str, Any]]:
        """Return what a classifier learns from generated rows, and from real ones."""
        if not self.by_label or self.y is None or self.train is None:
            return {}
        if self.y_train is None:
            return {}
        n = min(len(self.y), len(self.y_train))
        drawn, chosen = (
            some_of_each(it, n, self.seed) for it in (self.y, self.y_train)
        )
        result = self.timed(
            "train_on_synthetic",
            train_on_synthetic,
            self.generated[drawn],
            self.y[drawn],
            self.real,
            self.y,
            X_train=self.train[chosen],
            y_train=self.y_train[chosen],
            classifier=self.classifier,
            random_state=self.seed,
        )
        return {
            "generated": {
                "downstream_accuracy": result.accuracy,
                "downstream_ratio": result.ratio,
            },
            "real": {"downstream_accuracy": result.real_accuracy},
        }

    def _copies(self) -> dict[str, dict[str, Any]]:
        """Return signs that training rows are repeated, and those of unseen rows."""
        if self.train is None:
            return {}
        first, second = self._halves()
        judged = {
            "generated": (self.real, self.generated),
            "real": (second, first),  # one half as if it were generated
        }
        figures: dict[str, dict[str, Any]] = {}
        for row, (unseen, rows) in judged.items():
            copies = rows if row == "generated" else self.real
            figures[row] = {
                "near_copy_share": self.timed(
                    "near_copy_share", near_copy_share, self.train, copies
                ),
                "membership_auc": self.timed(
                    "membership_auc", membership_auc, self.train, unseen, rows
                ),
                "membership_auc_error": auc_error(len(self.train), len(unseen)),
            }
        return figures


def some_of_each(labels: NDArray[Any], n: int, seed: int) -> NDArray[np.intp]:
    """Return the positions of `n` rows in random order, of every class at least one."""
    order = np.random.RandomState(seed).permutation(len(labels))
    firsts = np.unique(labels[order], return_index=True)[1]
    return np.concatenate([order[firsts], np.delete(order, firsts)])[:n]


def _plain(figures: dict[str, Any]) -> Figures:
    """Return figures as plain numbers, None where one is not finite."""
    return {
        name: float(value) if np.isfinite(value) else None
        for name, value in figures.items()
    }
