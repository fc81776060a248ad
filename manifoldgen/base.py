"""What every estimator with a network shares, and the role of a sampler."""

import copy
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from . import __version__
from ._arrays import (
    check_pixel_units,
    container_of,
    flatten_images,
    pixel_units,
    to_container,
)
from ._random import draw_seed, random_state_of, torch_generator
from ._validation import (
    check_bool,
    check_choice,
    check_float32_range,
    check_int,
    check_real,
)
from .exceptions import DeviceWarning
from .nn import bind_generator
from .training import (
    SCHEDULES,
    Checkpoint,
    History,
    Outcome,
    Program,
    RowSampler,
    Sampler,
    fingerprint_of,
    run,
)


@contextmanager
def unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Give `estimator` back its attributes where the body raises or is interrupted."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def seeded_clone(estimator: Any, rng: np.random.RandomState) -> Any:
    """Return a clone whose seeds that were left open are filled in.

    Each `random_state` of None, its own or that of a part of it, is drawn from `rng`.
    """
    part = clone(estimator)
    parameters = part.get_params()
    settings: dict[str, Any] = {}
    for name in sorted(parameters):
        if parameters[name] is None and name.split("__")[-1] == "random_state":
            settings[name] = draw_seed(rng)
    part.set_params(**settings)  # a FrozenEstimator returns None
    return part


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that `device` names; "auto" is the fastest one that is here.

    A device that is not here is replaced by the CPU with a `DeviceWarning`.
    """
    mps = torch.backends.mps.is_available()
    if str(device) == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
        return torch.device(best)
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:<n>' or 'mps', "
            f"got {device!r}."
        ) from error
    check_choice("device", wanted.type, ("cpu", "cuda", "mps"))
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available()
        and (wanted.index or 0) < torch.cuda.device_count(),
        "mps": mps,
    }
    if not here[wanted.type]:
        warnings.warn(
            f"device={device!r} is not available on this machine; using the CPU.",
            DeviceWarning,
            stacklevel=3,
        )
        return torch.device("cpu")
    return wanted


class RowsMixin:
    """Rows in any container and layout, which `fit` remembers and `sample` returns."""

    _shape_in: tuple[int, ...] | None
    _container: str | None
    _columns: list[Any] | None
    _pixel_units: str | None = None  # of images, as fit saw them

    def _validate_rows(self, X: Any, *, reset: bool, n_min: int = 1) -> NDArray[Any]:
        """Return `X` as checked rows, remembering container and layout at `reset`."""
        rows, shape = flatten_images(X)
        if not reset and shape not in (None, self._shape_in or shape):
            raise ValueError(
                f"X must hold images of shape {self._shape_in}, as fit saw them, got "
                f"{shape}."
            )
        images = shape is not None or getattr(self, "image_shape", None) is not None
        keep = images and getattr(rows, "dtype", None) == np.uint8
        checked: NDArray[Any] = validate_data(
            self,
            rows,
            reset=reset,
            dtype=np.uint8 if keep else [np.float64, np.float32],
            ensure_min_samples=n_min,
        )
        check_float32_range("X", checked)
        if images and not reset:
            check_pixel_units(self._pixel_units, checked)
        if reset:
            self._pixel_units = pixel_units(checked) if images else None
            self._container = container_of(X)
            # feature_names_in_ would leave out names that are not strings
            self._columns = list(X.columns) if self._container else None
            self._shape_in = shape
        return checked

    def _in_layout(self, rows: NDArray[Any]) -> Any:
        """Return generated `rows` as `fit` saw its own: images, a frame or rows."""
        if self._shape_in is not None:
            return rows.reshape(-1, *self._shape_in)
        return to_container(rows, self._container, self._columns)


class BaseTorchEstimator(RowsMixin, BaseEstimator):
    """Rows in, networks trained by the engine, picklable anywhere.

    A subclass names in `_networks` the attributes that hold its fitted networks and
    builds untrained ones in `_build_networks`, from its parameters and its other
    fitted attributes alone: that is how a saved estimator comes back without code in
    the file. `_training_data` names attributes that hold training rows, which are left
    out of saved files unless asked for.
    """

    _networks: tuple[str, ...] = ()
    _training_data: tuple[str, ...] = ()

    device_: str
    n_epochs_: int
    history_: History

    def _build_networks(self, seed: int) -> dict[str, torch.nn.Module]:
        """Return untrained networks on the CPU, by attribute name."""
        raise NotImplementedError

    def _check_training(self) -> None:
        """Check the parameters that every trained estimator has."""
        check_int("batch_size", self.batch_size)
        check_real("learning_rate", self.learning_rate, 0.0, closed="neither")
        check_choice("schedule", self.schedule, SCHEDULES)
        check_real(
            "validation_fraction", self.validation_fraction, 0.0, 1.0, closed="left"
        )
        if self.patience is not None:
            check_int("patience", self.patience)
        check_real("tol", self.tol, 0.0)
        if self.max_time is not None:
            check_real("max_time", self.max_time, 0.0, closed="neither")
        if hasattr(self, "warm_start"):
            check_bool("warm_start", self.warm_start)
        if not isinstance(self.verbose, (bool, np.bool_)):
            check_int("verbose", self.verbose, 0)
        if not isinstance(self.checkpoint, (str, os.PathLike, type(None))):
            raise TypeError(
                "checkpoint must be None or the path of a folder, got "
                f"{self.checkpoint!r}."
            )
        callbacks = () if self.callbacks is None else self.callbacks
        if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
            raise TypeError(
                "callbacks must be None or a sequence of callables that take a dict "
                f"of figures, got {callbacks!r}."
            )

    def _fitted_before(self) -> dict[str, Any] | None:
        """Return the attributes that a warm start goes on from, or None."""
        warm = getattr(self, "warm_start", False) and all(
            hasattr(self, name) for name in self._networks
        )
        return dict(vars(self)) if warm else None

    def _open_run(
        self, fitted: Mapping[str, Any] | None, **data: Any
    ) -> tuple[np.random.RandomState, Checkpoint | None]:
        """Return the random stream of this fit, and the checkpoint it resumes from."""
        rng = random_state_of(self.random_state)
        seed = draw_seed(rng)
        if self.checkpoint is None:
            return np.random.RandomState(seed), None
        # some networks are there only with some parameters
        known = {} if fitted is None else fitted
        networks = {k: known[k] for k in self._networks if k in known}
        parts = {
            "class": type(self),
            "torch": torch.__version__,
            "manifoldgen": __version__,
            "device": self.device_,
            "seed": None if self.random_state is None else seed,
            **{f"parameter {k}": v for k, v in self.get_params().items()},
            **{f"data {k}": v for k, v in data.items()},
            **{f"start {k}": m.state_dict() for k, m in networks.items()},
        }
        for name in _NO_PART_OF_A_FIT:
            parts.pop(f"parameter {name}", None)
        fingerprint = fingerprint_of(parts)
        if self.random_state is None:
            seed = int(fingerprint[:7], 16)
        return np.random.RandomState(seed), Checkpoint(self.checkpoint, fingerprint)

    def _split(
        self, n: int, rng: np.random.RandomState
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of training rows, and of held-out ones in random order."""
        order = rng.permutation(n)
        n_held = int(n * self.validation_fraction)
        return np.sort(order[n_held:]), order[:n_held]

    def _run(
        self,
        program: Program,
        tensors: list[torch.Tensor],
        validation: list[torch.Tensor] | None,
        rng: np.random.RandomState,
        checkpoint: Checkpoint | None,
        max_epochs: int,
        sampler: Sampler | None = None,
        spent: float = 0.0,
    ) -> Outcome:
        """Train `program` as the parameters say and put its networks to rest.

        Without a `sampler` every row comes once an epoch; `spent` seconds of `max_time`
        are over.
        """
        least = max(program.least_rows, 2 if program.foreign else 1)
        left = None if self.max_time is None else max(self.max_time - spent, 0.0)
        outcome = run(
            program,
            tensors,
            sampler or RowSampler(len(tensors[0]), self.batch_size, least),
            torch_generator(draw_seed(rng), self.device_),
            max_epochs=max_epochs,
            validation=validation,
            patience=self.patience,
            tol=self.tol,
            schedule=self.schedule,
            max_time=left,
            checkpoint=checkpoint,
            callbacks=tuple(self.callbacks or ()),
            verbose=bool(self.verbose),
        )
        rest(program)
        return outcome

    def _run_once(
        self,
        program: Program,
        tensors: list[torch.Tensor],
        rng: np.random.RandomState,
    ) -> Outcome:
        """Take one pass through the rows of `tensors`."""
        outcome = run(
            program,
            tensors,
            RowSampler(len(tensors[0]), self.batch_size),
            torch_generator(draw_seed(rng), self.device_),
            max_epochs=1,
        )
        rest(program)
        return outcome

    def _keep(self, outcome: Outcome) -> None:
        """Store what a run did."""
        self.history_ = outcome.history
        self.n_epochs_ = len(outcome.history.rows)
        self.best_epoch_ = outcome.best_epoch

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        for name in self._networks:
            if name in state:
                state[name] = copy.deepcopy(state[name]).cpu()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "device_" not in state:
            return
        self.device_ = str(resolve_device(state["device_"]))
        for name in self._networks:
            if name in state:
                state[name].to(self.device_)


_NO_PART_OF_A_FIT = (
    "callbacks",
    "checkpoint",
    "device",
    "max_time",
    "random_state",
    "verbose",
)


def continue_from(
    networks: dict[str, torch.nn.Module], fitted: Mapping[str, Any]
) -> None:
    """Copy the weights of fitted networks into new ones of the same shapes."""
    for name, network in networks.items():
        try:
            network.load_state_dict(fitted[name].state_dict())
        except RuntimeError as error:
            raise ValueError(
                "Training on from fitted weights needs networks of the same shapes. "
                f"Put the parameters back, or fit with warm_start=False. ({error})"
            ) from error


def pass_on_interrupt(outcome: Outcome) -> None:
    """Raise again the interrupt that ended a run, where one did."""
    if outcome.interrupt is not None:
        raise outcome.interrupt


def rest(program: Program) -> None:
    """Leave the networks of `program` in evaluation mode, without gradients."""
    for module in program.modules.values():
        module.eval().requires_grad_(False)
        module.zero_grad(set_to_none=True)
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()  # out of the optimizer's vector
        bind_generator(module, None)


def warn_unconverged(outcome: Outcome, figure: str) -> None:
    """Warn where a limit ended training while `figure` was still falling.

    That is, where the last tenth of the epochs lowered it by over 1 %, by over a
    thousandth of its whole fall, and by over its standard error where it has one.
    """
    limits = ("max_epochs", "max_time")
    if outcome.stopped_by not in limits or figure not in outcome.history:
        return
    values = outcome.history[figure]
    n_last = max(1, len(values) // 10)
    before, after = values[:-n_last], values[-n_last:]
    if not len(before):
        return
    bar = max(0.01 * abs(before.min()), 1e-3 * (before[0] - before.min()))
    if f"{figure}_error" in outcome.history:
        bar = max(bar, outcome.history[f"{figure}_error"][before.argmin()])
    if after.min() < before.min() - bar:
        warnings.warn(
            f"{outcome.stopped_by} ended training while {figure} was still falling "
            f"({before.min():.4g} to {after.min():.4g} over the last {n_last} epochs). "
            f"Raise {outcome.stopped_by}.",
            ConvergenceWarning,
            stacklevel=3,
        )


class SamplerMixin:
    """`sample` for a class that draws rows in `_sample`."""

    if TYPE_CHECKING:

        def _in_layout(self, rows: NDArray[Any]) -> Any: ...

    def _sample(
        self, n_samples: int, y: Any, rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        raise NotImplementedError

    def sample(
        self, n_samples: int | None = None, *, y: Any = None, random_state: Any = None
    ) -> Any:
        """Draw new rows from the learned distribution.

        Parameters
        ----------
        n_samples : int, default=None
            How many rows; None is one for each label in `y`, else 1.
        y : label or array-like of shape (n_samples,), default=None
            What the rows are conditioned on: one label for all of them or one for
            each. None draws labels by their training frequency.
        random_state : int, RandomState or None, default=None
            None draws afresh at each call.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float32
            Exactly `n_samples` rows; a data frame where `fit` saw one.
        """
        check_is_fitted(self)
        labels = None if y is None else np.asarray(y)
        many = labels is not None and labels.ndim > 0
        if n_samples is None:
            n_samples = len(labels) if labels is not None and many else 1
        n_samples = check_int("n_samples", n_samples)
        if labels is not None:
            if many and labels.shape != (n_samples,):
                raise ValueError(
                    f"y must be one label or n_samples={n_samples} labels, got an "
                    f"array of shape {labels.shape}."
                )
            labels = np.broadcast_to(labels, (n_samples,))
        rng = random_state_of(random_state)
        return self._in_layout(self._sample(n_samples, labels, rng))
