"""What an estimator with a parameter `constraint` does with it."""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from torch import Tensor

from ..exceptions import ConstraintWarning
from ..nn.constraints import DistanceConstraint
from ..training import History
from ._mahalanobis import LEAST_ROWS, MahalanobisConstraint

FINGERPRINT_ROWS = 64
"""Rows by whose features fits are told apart where features came fitted."""


def check_constraint(constraint: Any) -> None:
    """Raise where `constraint` is no MahalanobisConstraint, or none that can be."""
    if constraint is None:
        return
    if not isinstance(constraint, MahalanobisConstraint):
        raise TypeError(
            f"constraint must be None or a MahalanobisConstraint, got {constraint!r}."
        )
    constraint._check_parameters()


def fit_constraint(
    constraint: MahalanobisConstraint,
    rows: NDArray[Any],
    y: Any,
    rng: np.random.RandomState,
    *,
    shape: tuple[int, ...] | None = None,
    labelled: bool = False,
) -> MahalanobisConstraint:
    """Return a clone of `constraint` fitted on the rows that an estimator learns from.

    Parameters
    ----------
    constraint : MahalanobisConstraint
    rows : ndarray of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or None
    rng : RandomState
    shape : tuple of int, default=None
        Of an image, where rows are some.
    labelled : bool, default=False
        Whether made rows come with the class that they are made for.
    """
    if len(rows) < LEAST_ROWS:
        raise ValueError(
            f"constraint needs {LEAST_ROWS} rows at least, got {len(rows)}. Set "
            "constraint=None."
        )
    fitted = clone(constraint)
    fitted._learn(rows, y, rng, shape, labelled)
    fitted.n_features_in_ = rows.shape[1]
    return fitted


class ConstrainedMixin:
    """Keeps a fitted `constraint_` for an estimator with a parameter `constraint`.

    A class without the parameter is not held to anything.
    """

    constraint: MahalanobisConstraint | None = None
    constraint_: MahalanobisConstraint
    device_: str
    _shape_in: tuple[int, ...] | None

    def _constraint_parts(self, rows: NDArray[Any], y: Any) -> dict[str, Any]:
        """Return what a constraint depends on and no parameter shows."""
        if self.constraint is None:
            return {}
        features, seen = self.constraint.features, None
        if isinstance(features, FrozenEstimator):
            seen = np.asarray(features.transform(rows[:FINGERPRINT_ROWS]))
        labels = None if y is None else np.asarray(y)
        return {"constraint features": seen, "constraint labels": labels}

    def _learn_constraint(
        self,
        rows: NDArray[Any],
        y: Any,
        rng: np.random.RandomState,
        fitted: Mapping[str, Any] | None,
        labelled: bool = False,
    ) -> None:
        """Fit the constraint on the rows, its multiplier that of `fitted` if any."""
        self.__dict__.pop("constraint_", None)
        if self.constraint is None:
            return
        self.constraint_ = fit_constraint(
            self.constraint, rows, y, rng, shape=self._shape_in, labelled=labelled
        )
        before = None if fitted is None else fitted.get("constraint_")
        if before is not None and self.constraint.multiplier is None:
            self.constraint_.multiplier_ = before.multiplier_
            self.constraint_._law_multiplier = before._law_multiplier

    def _held(self, to_data: Callable[[Tensor], Tensor]) -> DistanceConstraint | None:
        """Return what holds the rows that networks make, None for nothing."""
        if self.constraint is None:
            return None
        return self.constraint_.hold(self.device_, to_data)

    def _keep_multiplier(self, held: DistanceConstraint | None) -> None:
        if held is not None:
            # another object, so that an error leaves the one of before as it was
            self.constraint_ = copy.copy(self.constraint_)
            self.constraint_.multiplier_ = float(held.multiplier)
            self.constraint_._law_multiplier = held.law_multiplier

    def _warn_infeasible(self, history: History, n_made: int) -> None:
        """Warn where no epoch kept the constraint, beyond what chance explains.

        `n_made` is the number of rows that an epoch was judged by.
        """
        held = self.__dict__.get("constraint_")
        if held is None or held.multiplier is not None:
            return
        if "validation_infeasibility" not in history:
            return
        tolerance, form = held.tolerance_, held.form
        error = np.sqrt(tolerance * (1.0 - tolerance) / max(n_made, 1))
        best = int(np.nanargmin(history["validation_infeasibility"]))
        missed = history["validation_violation"][best] - tolerance
        nearest = f"{1.0 - tolerance:.3g} of the rows that were made are within"
        if form == "mean":
            missed = history["validation_infeasibility"][best]
            nearest = "the root mean square distance of the rows that were made is"
        if missed <= max(0.005, 2.0 * error):
            return
        warnings.warn(
            f"epsilon={self.constraint_.epsilon_:.4g} was not reached: at best "
            f"{nearest} {history['validation_reach'][best]:.4g}. The weights that came "
            "nearest are kept. Raise epsilon, tolerance or max_epochs, or the step of "
            "the constraint, which moves its multiplier faster.",
            ConstraintWarning,
            stacklevel=4,
        )
