"""Manifolds whose networks are trained together, in one run or call by call."""

import copy
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._conditional import every_class_kept
from .._random import draw_seed, random_state_of
from ..base import (
    pass_on_interrupt,
    resolve_device,
    unchanged_on_error,
    warn_unconverged,
)
from ..constraints import ConstrainedMixin
from ..training import Program
from ._base import BaseManifold
from ._parts import check_unit_range


class AutoencodingManifold(ConstrainedMixin, BaseManifold):
    """A manifold that `fit` and `partial_fit` train by one program.

    A subclass checks its parameters in `_check_parameters`, makes the program in
    `_program`, and keeps what was trained in `_finish`. Where it learns from labels,
    `_learn_labels` takes those of `fit` and `_more_labels` those of a later call; a
    batch is then rows and their classes, counted from 0.
    """

    _optimizer_state: dict[str, Any]

    def fit(self, X: Any, y: Any = None, *, X_val: Any = None) -> Self:
        """Learn the manifold of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            Images are (n, height, width) or (n, channels, height, width); uint8 images
            stay so until they reach the device.
        y : array-like of shape (n_samples,), default=None
            Labels, of a manifold with ``conditional=True``; else ignored.
        X_val : array-like, default=None
            Rows to stop early by, in place of `validation_fraction` of X.

        Returns
        -------
        self : estimator
        """
        with unchanged_on_error(self):
            fitted = self._fitted_before()
            rows = self._validate_rows(X, reset=True, n_min=2)
            held = None if X_val is None else self._validate_rows(X_val, reset=False)
            self._check_parameters(rows, fitted is not None)
            if self.loss == "bce" and held is not None:
                is_uint8 = rows.dtype == np.uint8
                top = 255.0 if is_uint8 else 1.0
                check_unit_range("X_val", held, top, *self._range_choice)
            codes = self._learn_labels(y, len(rows))
            self.device_ = str(resolve_device(self.device))
            labels = {} if codes is None else {"y": codes}
            labels |= self._constraint_parts(rows, y)
            rng, checkpoint = self._open_run(fitted, X=rows, X_val=held, **labels)
            kept = out = None
            if held is None:
                kept, out = every_class_kept(*self._split(len(rows), rng), codes)
            if fitted is None:
                self._set_units(rows)
            else:
                self._check_units(rows)
            self._learn_constraint(rows, y, rng, fitted)
            done = 0 if fitted is None else self.n_epochs_
            networks = self._start(fitted, draw_seed(rng))
            train, validation = self._tensors(rows, codes, kept), None
            if held is not None:
                validation = self._tensors(held, None)
            elif out is not None and len(out):
                validation = self._tensors(rows, codes, out)
            program = self._program(networks, len(train[0]), done)
            outcome = self._run(
                program, train, validation, rng, checkpoint, self.max_epochs
            )
            self._finish(program, rows)
            self._keep_multiplier(getattr(program, "constraint", None))
            self.__dict__.pop("_optimizer_state", None)
            watched = "loss" if validation is None else "validation_loss"
            warn_unconverged(outcome, watched)
            n_held = 0 if validation is None else len(validation[0])
            self._warn_infeasible(outcome.history, 2 * n_held)
            self._look_back(rows, codes)
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Take one pass through the rows of `X`, from where the last call ended.

        The first call fixes width, units, networks, the distances of a constraint and,
        with ``conditional=True``, the classes; moments of the optimizers, and the
        multiplier, are kept between calls.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            At least 2 rows in the first call.
        y : array-like of shape (n_samples,), default=None
            Labels, of a manifold with ``conditional=True``; else ignored.

        Returns
        -------
        self : estimator
        """
        with unchanged_on_error(self):
            first = not hasattr(self, "encoder_")
            rows = self._validate_rows(X, reset=first, n_min=2 if first else 1)
            self._check_parameters(rows, not first)
            take = self._learn_labels if first else self._more_labels
            codes = take(y, len(rows))
            if first:
                self.device_ = str(resolve_device(self.device))
                self._set_units(rows)
            else:
                self._check_units(rows)
            done = 0 if first else self.n_epochs_
            rng = np.random.RandomState(
                [draw_seed(random_state_of(self.random_state)), done]
            )
            if first or not hasattr(self, "constraint_"):
                self._learn_constraint(rows, y, rng, None)
            networks = self._start(None if first else self.__dict__, draw_seed(rng))
            program = self._program(networks, len(rows), done)
            self._restore_moments(program)
            outcome = self._run_once(program, self._tensors(rows, codes), rng)
            self._finish(program, rows)
            self._keep_multiplier(getattr(program, "constraint", None))
            self._keep_moments(program)
            for row in outcome.history.rows:
                row["epoch"] += done
            if not first:
                outcome.history.rows[:0] = self.history_.rows
            outcome.best_epoch += done
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def _check_parameters(self, rows: NDArray[Any], goes_on: bool) -> None:
        """Check all parameters and set `n_components_`."""
        raise NotImplementedError

    def _program(
        self, networks: dict[str, nn.Module], n_rows: int, done: int
    ) -> Program:
        """Return what trains `networks` on `n_rows` rows, after `done` epochs."""
        raise NotImplementedError

    def _finish(self, program: Any, rows: NDArray[Any]) -> None:
        """Keep the trained networks."""
        raise NotImplementedError

    def _look_back(self, rows: NDArray[Any], codes: NDArray[np.int64] | None) -> None:
        """Warn where what `fit` came to is of no use."""

    def _learn_labels(self, y: Any, n: int) -> NDArray[np.int64] | None:
        """Return the classes of the rows of a new fit, None without any."""
        return None

    def _more_labels(self, y: Any, n: int) -> NDArray[np.int64] | None:
        """Return those of the rows of a later call."""
        return None

    def _tensors(
        self,
        rows: NDArray[Any],
        codes: NDArray[np.int64] | None,
        index: NDArray[np.int64] | None = None,
    ) -> list[Tensor]:
        """Return the rows at `index`, None for all, and their classes on the device."""
        at = slice(None) if index is None else index
        tensors = [self._on_device(rows[at])]
        if codes is not None:
            tensors.append(torch.from_numpy(codes[at]).to(self.device_))
        return tensors

    def _keep_moments(self, program: Program) -> None:
        """Store the moments on the CPU, where they can be loaded without the GPU."""
        moments = {
            name: {
                index: {key: value.cpu() for key, value in state.items()}
                for index, state in optimizer.state_dict()["state"].items()
            }
            for name, optimizer in program.optimizers.items()
        }
        self._optimizer_state = {"name": self.optimizer, "moments": moments}

    def _restore_moments(self, program: Program) -> None:
        """Give the optimizers a copy of the moments, but the settings of today."""
        kept = getattr(self, "_optimizer_state", None)
        if kept is None or kept["name"] != self.optimizer:
            return
        for name, optimizer in program.optimizers.items():
            moments = copy.deepcopy(kept["moments"][name])
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
