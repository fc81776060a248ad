"""What every generator with networks shares: units, labels, held-out rows, a run."""

import copy
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import DensityMixin
from torch import Tensor, nn

from .._arrays import (
    column_moments,
    standardize,
    unstandardize,
    warn_of_coarse_columns,
)
from .._conditional import ConditionalMixin, every_class_kept
from .._random import draw_seed
from .._validation import check_int, check_sizes
from ..base import (
    BaseTorchEstimator,
    SamplerMixin,
    continue_from,
    pass_on_interrupt,
    resolve_device,
    unchanged_on_error,
    warn_unconverged,
)
from ..constraints import ConstrainedMixin, check_constraint
from ..training import Checkpoint, Outcome, Program

_LEAST_EPOCHS = 20


class BaseGenerator(
    ConstrainedMixin, ConditionalMixin, SamplerMixin, DensityMixin, BaseTorchEstimator
):
    """Learns p(X), or p(X | y), on standardised columns.

    A subclass builds its networks in `_build_networks` and its program in `_program`,
    keeps what was trained in `_finish`, and draws standardised rows in `_sample_units`.
    A batch is rows and, where conditional, their one-hot labels.
    """

    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn to generate rows like those of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Discrete labels where `conditional`, else ignored.

        Returns
        -------
        self : estimator
        """
        with unchanged_on_error(self):
            fitted = self._fitted_before()
            rows = self._validate_rows(X, reset=True, n_min=2)
            self._check_parameters()
            codes = self._learn_labels(y, len(rows))
            self.device_ = str(resolve_device(self.device))
            extra = self._constraint_parts(rows, y)
            rng, checkpoint = self._open_run(fitted, X=rows, codes=codes, **extra)
            kept, out = every_class_kept(*self._split(len(rows), rng), codes)
            if fitted is None:
                self._set_units(rows)
            self._learn_constraint(rows, y, rng, fitted, labelled=codes is not None)
            networks = self._start(fitted, draw_seed(rng))
            data = self._on_device(rows, codes)
            validation = [tensor[out] for tensor in data] if len(out) > 1 else None
            train = [tensor[kept] for tensor in data] if len(out) > 1 else data
            program = self._program(networks, len(out), rng)
            outcome = self._train(program, train, validation, rng, checkpoint)
            self._finish(program, outcome, validation)
            self._keep_multiplier(getattr(program, "constraint", None))
            warn_unconverged(outcome, "validation_loss")
            self._warn_infeasible(outcome.history, self._n_constraint_rows(len(out)))
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def _program(
        self, networks: dict[str, Any], n_held: int, rng: np.random.RandomState
    ) -> Program:
        """Return what trains `networks`, watched on `n_held` rows."""
        raise NotImplementedError

    def _train(
        self,
        program: Any,
        train: list[Tensor],
        validation: list[Tensor] | None,
        rng: np.random.RandomState,
        checkpoint: Checkpoint | None,
    ) -> Outcome:
        """Run `program` on the rows, and what else belongs to training."""
        max_epochs = self._enough_epochs(len(train[0]))
        return self._run(program, train, validation, rng, checkpoint, max_epochs)

    def _finish(
        self, program: Any, outcome: Outcome, validation: list[Tensor] | None
    ) -> None:
        """Keep the trained networks, where `_train` has not."""

    def _sample_units(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float32]:
        """Return standardised rows, drawn for labels at `codes` where conditional.

        They have the columns that vary, see `_modelled`.
        """
        raise NotImplementedError

    def _draw_units(self, noise: Tensor, labels: list[Tensor]) -> Tensor:
        """Return standardised rows made of noise for one-hot labels, with gradients."""
        raise NotImplementedError

    def _noise_for(
        self, n_rows: int, labels: list[Tensor], generator: torch.Generator
    ) -> Tensor:
        """Return noise for `_draw_units`, drawn on the device of `generator`."""
        noise = torch.empty(n_rows, self._noise_width(), device=generator.device)
        return noise.normal_(generator=generator)

    def _noise_width(self) -> int:
        return len(self._modelled)

    def _loss_of(
        self, units: Tensor, labels: list[Tensor], generator: torch.Generator
    ) -> Tensor | None:
        """Return what training on rows alone descends, None where it takes a game."""
        return None

    def _to_train(self, device: str) -> Self:
        """Return a shallow copy whose drawing network is one of its own to train."""
        other = copy.copy(self)
        name = self._networks[0]
        network = copy.deepcopy(getattr(self, name)).to(device)
        setattr(other, name, network.requires_grad_(True))
        return other

    def _default_steps(self, n_rows: int) -> int:
        """Return how many steps make enough epochs where `max_epochs` is None."""
        raise NotImplementedError

    def _sample(
        self, n_samples: int, y: Any, rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        codes = self._codes_for(n_samples, y, rng)
        units = np.zeros((n_samples, self.n_features_in_), dtype=np.float32)
        units[:, self._modelled] = self._sample_units(n_samples, codes, rng)
        X = unstandardize(units, self.mean_, self.scale_).astype(np.float32)
        return np.clip(X, 0.0, 255.0) if self._is_uint8 else X

    def _check_parameters(self) -> None:
        check_constraint(self.constraint)
        check_sizes("hidden_sizes", self.hidden_sizes)
        if self.max_epochs is not None:
            check_int("max_epochs", self.max_epochs)
        self._check_training()

    def _enough_epochs(self, n_rows: int) -> int:
        if self.max_epochs is not None:
            return self.max_epochs
        batches = -(-n_rows // self.batch_size)
        return max(_LEAST_EPOCHS, -(-self._default_steps(n_rows) // batches))

    def _set_units(self, rows: NDArray[Any]) -> None:
        self.mean_, self.scale_ = column_moments(rows)
        warn_of_coarse_columns(type(self).__name__, self.mean_, self.scale_)
        self._is_uint8 = rows.dtype == np.uint8

    @property
    def _modelled(self) -> NDArray[np.int64]:
        """Positions of the columns that vary; of one column where none does."""
        varying = np.flatnonzero(self.scale_)
        return varying if len(varying) else np.zeros(1, dtype=np.int64)

    def _start(self, fitted: dict[str, Any] | None, seed: int) -> dict[str, nn.Module]:
        if fitted is not None and len(self.mean_) != self.n_features_in_:
            raise ValueError(
                "Training on from fitted weights needs networks of the same shapes, "
                f"for rows of {len(self.mean_)} features, got {self.n_features_in_}. "
                "Fit with warm_start=False."
            )
        networks = self._build_networks(seed)
        if fitted is not None:
            continue_from(networks, fitted)
        return {name: module.to(self.device_) for name, module in networks.items()}

    def _n_constraint_rows(self, n_held: int) -> int:
        """Return how many samples an epoch is judged by, where there is a constraint.

        As many as tell 5 % from 5.5 %, nearly.
        """
        return 4096

    def _to_data(self) -> Callable[[Tensor], Tensor]:
        """Return what takes standardised rows of the columns that vary to the data."""
        exact = torch.float32 if self.device_ == "mps" else torch.float64
        mean, scale = (
            torch.tensor(part, dtype=exact, device=self.device_)
            for part in (self.mean_, self.scale_)
        )
        at = torch.from_numpy(self._modelled).to(self.device_)

        def to_data(units: Tensor) -> Tensor:
            whole = units.new_zeros(len(units), len(mean)).index_copy(1, at, units)
            return whole.to(exact) * scale + mean

        return to_data

    def _on_device(
        self, rows: NDArray[Any], codes: NDArray[np.int64] | None
    ) -> list[Tensor]:
        units = standardize(rows, self.mean_, self.scale_)
        data = [np.ascontiguousarray(units[:, self._modelled])]
        if codes is not None:
            data.append(self._one_hot(codes))
        return [torch.from_numpy(part).to(self.device_) for part in data]
