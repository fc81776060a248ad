"""The engine: epochs, randomness, stopping, rollback, checkpoints and callbacks."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .._random import isolated_streams
from ..exceptions import TrainingDivergedError
from .checkpoint import Checkpoint
from .history import History
from .optimizers import schedule_factor
from .program import Program
from .samplers import Sampler
from .weights import Snapshot

Callback = Callable[[dict[str, float]], Any]

_LOOK_SECONDS = 1.0
_MAX_RETRIES = 3
_GROWTH = 1e3
_PROBE_ROWS = 1024
_PLATEAU_FACTOR = 0.5
_PLATEAU_EPOCHS = 5  # where no patience says what a long time is


@dataclass
class Outcome:
    """What a run did.

    Attributes
    ----------
    history : History
        One row an epoch.
    best_epoch : int
        Epoch, from 1, whose weights were kept.
    stopped_by : str
        "max_epochs", "patience", "max_time", "callback" or "interrupt".
    interrupt : KeyboardInterrupt or None
        What the caller has to raise again after it has stored the weights.
    """

    history: History
    best_epoch: int
    stopped_by: str
    interrupt: KeyboardInterrupt | None


@dataclass
class _Progress:
    """What a checkpoint has to remember besides tensors."""

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = math.inf
    best_error: float = 0.0
    best_infeasibility: float = math.inf
    patience_value: float = math.inf
    patience_infeasibility: float = math.inf
    patience_epoch: int = 0
    step_scale: float = 1.0
    plateau_factor: float = 1.0
    plateau_epoch: int = 0
    retries: int = 0
    weighed: bool = False
    seconds: float = 0.0
    reference: dict[str, float] = field(default_factory=dict)


def run(
    program: Program,
    tensors: Sequence[Tensor],
    sampler: Sampler,
    generator: torch.Generator,
    *,
    max_epochs: int,
    validation: Sequence[Tensor] | None = None,
    patience: int | None = None,
    tol: float = 1e-4,
    schedule: str = "constant",
    max_time: float | None = None,
    checkpoint: Checkpoint | None = None,
    callbacks: Sequence[Callback] = (),
    verbose: bool = False,
) -> Outcome:
    """Train `program` and leave the best weights in it.

    Parameters
    ----------
    program : Program
    tensors : sequence of Tensor
        Training data on the device; a batch is the same rows of each.
    sampler : Sampler
        Draws the rows of each batch.
    generator : torch.Generator
        The one source of randomness, on the device of the data.
    max_epochs : int
    validation : sequence of Tensor, default=None
        Rows for `Program.validate`. With them the weights with the lowest "loss" are
        kept, or the last ones within the "loss_error" of the lowest, where the program
        gives one; those of the lowest "infeasibility" alone, where it gives one.
        Without rows the last weights are.
    patience : int, default=None
        Stop after as many epochs in which the validation loss has not fallen by more
        than the share `tol`.
    tol : float, default=1e-4
    schedule : str, default="constant"
        See `schedule_factor`. "plateau" halves the rate after ``max(patience // 4, 2)``
        epochs, 5 without a patience, since it last did or since the validation loss, or
        the loss where nothing is held out, last fell by more than the share `tol`.
    max_time : float, default=None
        Seconds, those before a resumption included; the last epoch may be cut short.
    checkpoint : Checkpoint, default=None
        Resumed from where its file exists, written at the ends of epochs, removed
        after success.
    callbacks : sequence of callable, default=()
        Called after each epoch with its figures; a true answer stops the run.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    outcome : Outcome

    Raises
    ------
    TrainingDivergedError
        If the loss is not finite, or a thousand times what it was at first, after 3
        restarts from the last good weights with a tenth of the step each.
    """
    loop = _Loop(program, tensors, sampler, generator, max_epochs, validation)
    loop.patience, loop.tol, loop.schedule = patience, tol, schedule
    loop.max_time, loop.checkpoint, loop.callbacks = max_time, checkpoint, callbacks
    return loop.run(verbose)


class _Loop:
    def __init__(
        self,
        program: Program,
        tensors: Sequence[Tensor],
        sampler: Sampler,
        generator: torch.Generator,
        max_epochs: int,
        validation: Sequence[Tensor] | None,
    ) -> None:
        self.program = program
        self.tensors = tuple(tensors)
        self.sampler = sampler
        self.generator = generator
        self.max_epochs = max_epochs
        self.validation = None if validation is None else tuple(validation)
        self.patience: int | None = None
        self.tol = 0.0
        self.schedule = "constant"
        self.max_time: float | None = None
        self.checkpoint: Checkpoint | None = None
        self.callbacks: Sequence[Callback] = ()
        self.history = History()
        self.progress = _Progress()
        weights = program.weights()
        # those of the last epoch's end are `pending` until a healthy epoch follows,
        # which makes them `good`
        self.good, self.pending = Snapshot(weights), Snapshot(weights)
        self.best = Snapshot(weights)
        self.stopped_by = ""
        self.started = time.monotonic()

    def run(self, verbose: bool) -> Outcome:
        interrupt = None
        self._resume()
        self.pending.store()
        with tqdm(
            total=self.max_epochs,
            initial=self.progress.epoch,
            disable=not verbose,
            unit="epoch",
        ) as bar:
            try:
                while not self.stopped_by:
                    self._epoch()
                    bar.update(self.progress.epoch - bar.n)
                    if verbose and self.history.rows:
                        bar.set_postfix(_printable(self.history.rows[-1]))
            except KeyboardInterrupt as caught:
                interrupt, self.stopped_by = caught, "interrupt"
        self._settle()
        if self.checkpoint is not None and interrupt is None:
            self.checkpoint.remove()
        best_epoch = self.progress.best_epoch or self.progress.epoch
        return Outcome(self.history, best_epoch, self.stopped_by, interrupt)

    def _epoch(self) -> None:
        progress = self.progress
        factor = schedule_factor(self.schedule, progress.epoch, self.max_epochs)
        factor *= progress.plateau_factor
        self.program.set_learning_rate(factor * progress.step_scale)
        with self._shielded():
            losses = self._train()
            losses |= self._validate(last=progress.epoch + 1 == self.max_epochs)
        if self._diverged(losses):
            self._weigh_all_rows(losses)
            if self._diverged(losses):
                self._retry(losses)
                return
        self.good, self.pending = self.pending, self.good
        self.pending.store()
        progress.epoch += 1
        losses.pop("probe", None)
        row = {"epoch": progress.epoch, **losses, "seconds": self._elapsed()}
        self.history.append(row)
        self._keep_best(row)
        self._look_for_progress(row)
        self._look_for_a_stop(row)
        if self.checkpoint is not None and not self.stopped_by:
            if self.checkpoint.due():
                self.checkpoint.save(self._state())

    def _train(self) -> dict[str, float]:
        """Return the mean losses of one epoch, cut short where they make no sense."""
        step, tensors, generator = self.program.step, self.tensors, self.generator
        totals: dict[str, Tensor] = {}
        n_seen, full = 0, self.sampler.batch_size
        next_look = time.monotonic() + _LOOK_SECONDS
        for index in self.sampler.epoch(generator):
            count = len(index)
            losses = step(tuple(t.index_select(0, index) for t in tensors), generator)
            n_seen += count
            if totals:
                for name, loss in losses.items():
                    totals[name].add_(loss, alpha=count / full)
            else:
                totals = {k: loss * (count / full) for k, loss in losses.items()}
                self._remember_start(losses)
            if time.monotonic() > next_look:
                if self._cut_short(totals):
                    break
                next_look = time.monotonic() + _LOOK_SECONDS
        return {k: float(total) * full / n_seen for k, total in totals.items()}

    def _remember_start(self, losses: Mapping[str, Tensor]) -> None:
        if self.progress.reference:
            return
        first = {name: float(loss) for name, loss in losses.items()}
        if all(map(math.isfinite, first.values())):
            self.progress.reference = first

    def _cut_short(self, totals: Mapping[str, Tensor]) -> bool:
        """Look, once a second at most, at the losses and the clock."""
        return self._out_of_time() or not all(
            math.isfinite(float(total)) for total in totals.values()
        )

    def _validate(self, last: bool) -> dict[str, float]:
        """Return losses on held-out rows; without any, a probe of the last weights."""
        if self.validation is not None:
            found = self.program.validate(self.validation)
            return {f"validation_{name}": float(loss) for name, loss in found.items()}
        return self._probe() if last else {}

    def _probe(self) -> dict[str, float]:
        rows = tuple(tensor[:_PROBE_ROWS] for tensor in self.tensors)
        return {"probe": float(self.program.validate(rows)["loss"])}

    def _diverged(self, losses: Mapping[str, float]) -> bool:
        reference = self.progress.reference
        for name, loss in losses.items():
            if name.removeprefix("validation_") in self.program.figures:
                if not math.isfinite(loss):
                    return True
                continue
            first = reference.get(name, reference.get("loss", 0.0))
            if not abs(loss) <= _GROWTH * max(abs(first), 1e-3):
                return True
        return False

    def _weigh_all_rows(self, losses: Mapping[str, float]) -> None:
        """Set the bounds once more, by all rows instead of the first batch.

        One outlier, which the first batch did not hold, can bring the loss to a
        thousandfold under the best of weights.
        """
        progress = self.progress
        if progress.weighed or not all(map(math.isfinite, losses.values())):
            return
        progress.weighed = True
        reached = Snapshot(self.program.weights())
        self.good.restore()
        with self._shielded():
            trained = float(self.program.validate(self.tensors)["loss"])
            found = dict.fromkeys(losses, trained) | self._validate(last=False)
        reached.restore()
        for name, loss in found.items():
            first = abs(progress.reference.get(name, 0.0))
            if abs(loss) > first and math.isfinite(loss):
                progress.reference[name] = abs(loss)

    def _retry(self, losses: Mapping[str, float]) -> None:
        progress = self.progress
        if progress.retries == _MAX_RETRIES:
            found = ", ".join(f"{name}={loss:.3g}" for name, loss in losses.items())
            raise TrainingDivergedError(
                f"Training diverged in epoch {progress.epoch + 1} ({found}; at first "
                f"{progress.reference}) and again after {_MAX_RETRIES} restarts with a "
                "tenth of the step each. Lower learning_rate, or scale the data."
            )
        progress.retries += 1
        progress.step_scale *= 0.1
        self.good.restore()
        self.pending.store()
        self.program.forget_moments()

    def _keep_best(self, row: Mapping[str, float]) -> None:
        """Keep the weights of the lowest loss, or of the last one as good as it.

        Where there is a constraint, only those that break it least come into question.
        """
        progress = self.progress
        if self.validation is None:
            return
        value, infeasibility = row["validation_loss"], _infeasibility(row)
        if infeasibility > progress.best_infeasibility:
            return
        if infeasibility < progress.best_infeasibility:
            progress.best_infeasibility = infeasibility
            progress.best_value, progress.best_error = math.inf, 0.0
        if value < progress.best_value + progress.best_error:
            self.best.store()
            progress.best_epoch = progress.epoch
        if value < progress.best_value:
            progress.best_value = value
            progress.best_error = row.get("validation_loss_error", 0.0)

    def _look_for_progress(self, row: Mapping[str, float]) -> None:
        """Note whether the watched loss fell, and halve the rate on a plateau.

        A constraint that is broken less is progress too, and a lower loss is none where
        it is broken more.
        """
        if self.validation is None and self.schedule != "plateau":
            return
        progress = self.progress
        value = row["loss" if self.validation is None else "validation_loss"]
        threshold = progress.patience_value
        infeasibility, least = _infeasibility(row), progress.patience_infeasibility
        fell = math.isinf(threshold) or value < threshold - self.tol * abs(threshold)
        if infeasibility < least or (fell and infeasibility == least):
            progress.patience_value, progress.patience_epoch = value, progress.epoch
            progress.patience_infeasibility = infeasibility
        if self.schedule != "plateau":
            return
        wait = _PLATEAU_EPOCHS if self.patience is None else max(self.patience // 4, 2)
        since = max(progress.patience_epoch, progress.plateau_epoch)
        if progress.epoch - since >= wait:
            progress.plateau_factor *= _PLATEAU_FACTOR
            progress.plateau_epoch = progress.epoch

    def _look_for_a_stop(self, row: dict[str, float]) -> None:
        progress = self.progress
        stale = progress.epoch - progress.patience_epoch
        if any([callback(dict(row)) for callback in self.callbacks]):
            self.stopped_by = "callback"
        elif self._out_of_time():
            self.stopped_by = "max_time"
        elif self.validation and self.patience is not None and stale >= self.patience:
            self.stopped_by = "patience"
        elif progress.epoch >= self.max_epochs:
            self.stopped_by = "max_epochs"

    def _settle(self) -> None:
        """Leave the best weights in the networks, or the last ones that are sound."""
        if self.progress.best_epoch:
            self.best.restore()
        elif self.stopped_by != "max_epochs":
            # no epoch and no probe has yet shown that the last step was sound
            self.pending.restore()
            with self._shielded():
                if self._diverged(self._probe()):
                    self.good.restore()

    def _elapsed(self) -> float:
        return self.progress.seconds + time.monotonic() - self.started

    def _out_of_time(self) -> bool:
        return self.max_time is not None and self._elapsed() >= self.max_time

    def _shielded(self) -> Any:
        if not self.program.foreign:
            return nullcontext()
        device = self.generator.device
        seed = torch.randint(2**31, (1,), generator=self.generator, device=device)
        return isolated_streams(int(seed))

    def _state(self) -> dict[str, Any]:
        return {
            "program": self.program.state_dict(),
            "generator": self.generator.get_state(),
            "progress": {**vars(self.progress), "seconds": self._elapsed()},
            "history": self.history.rows,
            "good": self.good.copies,
            "best": self.best.copies,
        }

    def _resume(self) -> None:
        state = None if self.checkpoint is None else self.checkpoint.load()
        if state is None:
            return
        self.program.load_state_dict(state["program"])
        self.generator.set_state(state["generator"])
        self.progress = _Progress(**state["progress"])
        self.history = History(state["history"])
        self.good.load(state["good"])
        self.best.load(state["best"])


def _infeasibility(row: Mapping[str, float]) -> float:
    return row.get("validation_infeasibility", 0.0)


def _printable(row: Mapping[str, float]) -> dict[str, str]:
    hidden = ("epoch", "seconds")
    return {k: f"{value:.4g}" for k, value in row.items() if k not in hidden}
