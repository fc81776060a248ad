"""The engine, by programs of one weight whose every loss is written down."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from manifoldgen.exceptions import TrainingDivergedError
from manifoldgen.training import Checkpoint, Program, RowSampler, loop, run


class Counter(Program):
    """A weight that grows by one a step, and losses from a script.

    `step_loss(n)` is the loss of the n-th step, from 1; `epoch_loss(n)` that of the
    n-th validation, a number or a pair with its standard error.
    """

    def __init__(self, step_loss=lambda n: 1.0, epoch_loss=lambda n: 1.0):
        super().__init__()
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.network.weight)
        self.modules = {"network": self.network}
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=2.0)
        self.optimizers = {"optimizer": self.optimizer}
        self.step_loss, self.epoch_loss = step_loss, epoch_loss
        self.n_steps = self.n_validations = 0
        self.rates, self.starts = [], []

    @property
    def weight(self):
        return float(self.network.weight.detach())

    def step(self, batch, generator):
        self.n_steps += 1
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.starts.append(self.weight)
        with torch.no_grad():
            self.network.weight += 1.0
        return {"loss": torch.tensor(float(self.step_loss(self.n_steps)))}

    def validate(self, rows):
        self.n_validations += 1
        found = self.epoch_loss(self.n_validations)
        if isinstance(found, tuple):
            names = "loss", "loss_error"
            return {k: torch.tensor(v) for k, v in zip(names, found, strict=True)}
        return {"loss": torch.tensor(float(found))}


def train(program, n_rows=2, batch_size=1, validate=False, seed=0, **options):
    rows = torch.arange(float(n_rows))[:, None]
    return run(
        program,
        [rows],
        RowSampler(n_rows, batch_size),
        torch.Generator().manual_seed(seed),
        **{"validation": [rows] if validate else None, "max_epochs": 5, **options},
    )


def script(*values):
    return lambda n: values[n - 1]


# ----------------------------------------------------------------------- mean losses


class MeanOfRows(Counter):
    def step(self, batch, generator):
        x, twice = batch
        assert torch.equal(2 * x, twice)  # the same rows of each tensor
        self.sizes = [*getattr(self, "sizes", []), len(x)]
        return {"loss": x.mean(), "square": x.square().mean()}


def test_a_ragged_batch_counts_by_its_rows():
    x = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 3.0])
    program = MeanOfRows()
    generator = torch.Generator().manual_seed(0)
    outcome = run(program, [x, 2 * x], RowSampler(10, 4), generator, max_epochs=1)
    assert program.sizes == [4, 4, 2]
    assert outcome.history["loss"][0] == pytest.approx(51.4, rel=1e-6)
    square = float(x.square().mean())
    assert outcome.history["square"][0] == pytest.approx(square, rel=1e-6)


def test_a_batch_larger_than_the_data_is_the_data():
    x = torch.tensor([1.0, 2.0, 6.0])
    program = MeanOfRows()
    generator = torch.Generator().manual_seed(0)
    outcome = run(program, [x, 2 * x], RowSampler(3, 100), generator, max_epochs=2)
    assert program.sizes == [3, 3]
    np.testing.assert_allclose(outcome.history["loss"], [3.0, 3.0], rtol=1e-7)


def test_the_history_has_a_row_an_epoch():
    outcome = train(Counter(epoch_loss=lambda n: 1 / n), validate=True, max_epochs=3)
    history = outcome.history
    assert list(history) == ["epoch", "loss", "validation_loss", "seconds"]
    np.testing.assert_array_equal(history["epoch"], [1, 2, 3])
    np.testing.assert_allclose(history["validation_loss"], [1, 1 / 2, 1 / 3])
    assert (np.diff(history["seconds"]) >= 0).all()


# --------------------------------------------------------------- stopping and keeping


def test_without_validation_the_last_weights_are_kept():
    program = Counter()
    outcome = train(program, max_epochs=4)
    assert (outcome.best_epoch, outcome.stopped_by) == (4, "max_epochs")
    assert program.weight == 8


def test_patience_counts_epochs_since_the_best():
    losses = script(5.0, 4.0, 3.0, 3.1, 3.0, 3.2, 0.0)
    program = Counter(epoch_loss=losses)
    outcome = train(program, validate=True, max_epochs=7, patience=3, tol=0.0)
    assert (outcome.best_epoch, outcome.stopped_by) == (3, "patience")
    assert len(outcome.history.rows) == 6
    assert program.weight == 2 * 3


def test_no_patience_runs_to_the_end():
    program = Counter(epoch_loss=lambda n: float(n))
    outcome = train(program, validate=True, max_epochs=6, patience=None)
    assert (outcome.best_epoch, outcome.stopped_by) == (1, "max_epochs")
    assert len(outcome.history.rows) == 6
    assert program.weight == 2


def test_gains_below_tol_are_kept_but_do_not_buy_time():
    # falls of 1 %, 0.9 % in all, then 20 %
    losses = script(100.0, 99.0, 98.9, 98.2, 80.0)
    program = Counter(epoch_loss=losses)
    outcome = train(program, validate=True, max_epochs=5, patience=2, tol=0.05)
    assert len(outcome.history.rows) == 3
    assert outcome.stopped_by == "patience"
    assert outcome.best_epoch == 3
    assert program.weight == 6


def test_tol_is_a_share_of_losses_below_zero_too():
    # an unbiased distance may be negative: from -1 to -1.04 is no gain of 5 %
    losses = script(-1.0, -1.04, -1.049, -2.0)
    outcome = train(
        Counter(epoch_loss=losses), validate=True, max_epochs=4, patience=2, tol=0.05
    )
    assert len(outcome.history.rows) == 3


def test_the_last_weights_within_the_error_of_the_best_are_kept():
    found = [(3.0, 0.1), (1.0, 0.5), (1.6, 0.5), (1.4, 9.0), (1.45, 0.5), (1.5, 0.5)]
    program = Counter(epoch_loss=script(*found))
    outcome = train(program, validate=True, max_epochs=6)
    assert outcome.best_epoch == 5
    assert program.weight == 10
    assert "validation_loss_error" in outcome.history


def test_a_lower_best_brings_its_own_error():
    found = [(2.0, 5.0), (1.0, 0.0), (1.5, 0.0), (1.0, 0.0)]
    outcome = train(Counter(epoch_loss=script(*found)), validate=True, max_epochs=4)
    assert outcome.best_epoch == 2


def test_the_schedule_sets_the_rate_of_each_epoch():
    program = Counter()
    train(program, n_rows=1, max_epochs=4, schedule="linear")
    assert program.rates == [2.0, 1.5, 1.0, 0.5]


# ------------------------------------------------------------------------ divergence


LOSSES = [9.0, 8.0, 8.5, 8.2, 7.9995, 8.1, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 2.0, 2.5, 2.5]


def rates_of_torch(losses, wait, tol):
    """Return the rate of each epoch; torch halves it once `wait` - 1 were too many."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=wait - 1, threshold=tol, threshold_mode="rel"
    )
    rates = []
    for loss in losses:
        rates.append(optimizer.param_groups[0]["lr"])
        plateau.step(loss)
    return rates


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("tol", [0.0, 1e-4, 0.05])
@pytest.mark.parametrize(("patience", "wait"), [(8, 2), (15, 3), (16, 4), (None, 5)])
def test_a_plateau_halves_the_rate_as_that_of_torch(patience, wait, tol, validate):
    losses = script(*LOSSES)
    program = Counter(
        step_loss=(lambda n: 5.0) if validate else losses,
        epoch_loss=losses if validate else lambda n: 5.0,
    )
    options = {"schedule": "plateau", "patience": patience, "tol": tol}
    n_epochs = len(LOSSES) if validate else len(LOSSES) - 1  # and a probe at the end
    options |= {"n_rows": 1, "validate": validate, "max_epochs": n_epochs}
    train(program, **options)
    expected = rates_of_torch(LOSSES[:n_epochs], wait, tol)
    assert len(set(expected)) > 1
    assert program.rates == expected


def test_a_plateau_survives_a_retry():
    program = Counter(step_loss=lambda n: math.nan if n == 4 else 1.0)
    train(program, schedule="plateau", patience=8, n_rows=1, max_epochs=8)
    # the fourth step is lost, and so taken again at a tenth
    assert program.rates[:4] == [2.0, 2.0, 2.0, 1.0]
    np.testing.assert_allclose(program.rates[4:], [0.1, 0.1, 0.05, 0.05, 0.025])


def test_three_retries_each_with_a_tenth_of_the_step_then_the_error():
    program = Counter(step_loss=lambda n: 1.0 if n <= 4 else math.nan)
    with pytest.raises(TrainingDivergedError) as caught:
        train(program, max_epochs=9)
    np.testing.assert_allclose(program.rates[::2], [2, 2, 2, 0.2, 0.02, 0.002])
    # epochs 1 and 2 were healthy; the start of the second was followed by a healthy
    # epoch, so that is where each retry begins
    assert program.starts[::2] == [0, 2, 4, 2, 2, 2]
    text = str(caught.value)
    assert "epoch 3" in text
    assert "loss=nan" in text
    assert "learning_rate" in text


@pytest.mark.parametrize(
    ("loss", "bad"),
    [
        (math.nan, True),
        (math.inf, True),
        (-math.inf, True),
        (2001.0, True),
        (-2001.0, True),
        (1999.0, False),
    ],
)
def test_what_counts_as_divergence(loss, bad):
    program = Counter(step_loss=lambda n: 2.0 if n == 1 else loss)
    if not bad:
        outcome = train(program, n_rows=1, max_epochs=3)
        assert len(outcome.history.rows) == 3
        return
    with pytest.raises(TrainingDivergedError):
        train(program, n_rows=1, max_epochs=3)


def test_a_smaller_step_recovers_and_training_goes_on():
    program = Counter()
    program.step_loss = lambda n: 1.0 if program.rates[-1] < 0.5 else math.nan
    outcome = train(program, n_rows=1, max_epochs=3)
    assert [row["epoch"] for row in outcome.history.rows] == [1, 2, 3]
    np.testing.assert_allclose(program.rates, [2, 0.2, 0.2, 0.2])
    assert program.weight == 3


def test_retries_are_counted_over_the_whole_run():
    bad = {2, 4, 6}
    program = Counter(step_loss=lambda n: math.nan if n in bad else 1.0)
    outcome = train(program, n_rows=1, max_epochs=4)
    np.testing.assert_allclose(program.rates, [2, 2, 0.2, 0.2, 0.02, 0.02, 0.002])
    assert outcome.stopped_by == "max_epochs"
    program = Counter(step_loss=lambda n: math.nan if n in {2, 4, 6, 8} else 1.0)
    with pytest.raises(TrainingDivergedError, match="epoch 5"):
        train(program, n_rows=1, max_epochs=5)


def test_a_validation_loss_that_diverges_counts_too():
    program = Counter()
    program.epoch_loss = lambda n: 1.0 if program.weight <= 2 else 1e6
    with pytest.raises(TrainingDivergedError, match="validation_loss=1e"):
        train(program, validate=True, max_epochs=6)


@pytest.mark.parametrize("validate", [True, False])
def test_an_outlier_that_the_first_batch_did_not_hold_is_no_divergence(validate):
    # under any weights the rows have a mean loss of 5,000, the first batch has 1
    program = Counter(lambda n: 1.0 if n % 2 else 9999.0, lambda n: 5000.0)
    outcome = train(program, validate=validate, max_epochs=3)
    np.testing.assert_array_equal(outcome.history["loss"], [5000.0] * 3)
    assert set(program.rates) == {2.0}
    assert program.weight == (2 if validate else 6)


def test_moments_are_forgotten_with_the_bad_weights():
    program = Counter(step_loss=lambda n: math.nan if n == 3 else 1.0)
    program.optimizer.state[program.network.weight] = {"momentum_buffer": torch.ones(1)}
    train(program, n_rows=1, max_epochs=3)
    assert len(program.optimizer.state) == 0


def test_weights_that_the_very_last_step_broke_are_found_by_a_probe():
    # all losses are finite; validate sees what the last step left
    program = Counter()
    program.epoch_loss = lambda n: math.nan if program.rates[-1] > 1 else 1.0
    train(program, n_rows=1, max_epochs=2)
    np.testing.assert_allclose(program.rates, [2, 2, 0.2])
    assert program.weight == 1


@pytest.mark.parametrize("how", ["callback", "max_time"])
def test_an_early_stop_does_not_keep_broken_weights(how, monkeypatch):
    class Breaking(Counter):
        def step(self, batch, generator):
            losses = super().step(batch, generator)
            if self.n_steps == 3:
                with torch.no_grad():
                    self.network.weight.fill_(math.nan)
            return losses

        def validate(self, rows):
            return {"loss": self.network.weight.detach().sum()}

    program = Breaking()
    clock = Clock(monkeypatch)

    def after(row):
        clock.advance(1.0)
        return how == "callback" and row["epoch"] == 3

    options = {"callbacks": [after], "max_time": 2.5 if how == "max_time" else None}
    outcome = train(program, n_rows=1, max_epochs=9, **options)
    assert outcome.stopped_by == how
    assert program.weight == 2


class Clock:
    """Stands in for the clock of the engine."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(loop, "time", clock)

    def advance(self, seconds):
        self.now += seconds


# ------------------------------------------------------------------- callbacks, clock


def test_callbacks_get_plain_numbers_after_each_epoch():
    seen = []
    train(Counter(), validate=True, max_epochs=2, callbacks=[seen.append])
    assert [row["epoch"] for row in seen] == [1, 2]
    assert set(seen[0]) == {"epoch", "loss", "validation_loss", "seconds"}
    assert {type(value) for row in seen for value in row.values()} <= {int, float}


def test_a_true_answer_stops_and_every_callback_is_heard():
    seen = []
    callbacks = [lambda row: row["epoch"] == 2, seen.append]
    outcome = train(Counter(), callbacks=callbacks)
    assert outcome.stopped_by == "callback"
    assert [row["epoch"] for row in seen] == [1, 2]


def test_a_callback_cannot_change_the_history():
    seen = []
    callbacks = [lambda row: row.clear(), seen.append]
    outcome = train(Counter(), validate=True, max_epochs=1, callbacks=callbacks)
    assert outcome.history["loss"][0] == 1.0
    assert seen[0]["validation_loss"] == 1.0  # nor what other callbacks are told


def test_a_callback_that_raises_ends_the_run():
    def fail(row):
        raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        train(Counter(), callbacks=[fail])


def test_max_time_stops_after_the_epoch(monkeypatch):
    clock = Clock(monkeypatch)
    program = Counter()
    outcome = train(
        program, max_time=2.5, callbacks=[lambda row: clock.advance(1.0)], max_epochs=9
    )
    assert outcome.stopped_by == "max_time"
    assert len(outcome.history.rows) == 3
    np.testing.assert_array_equal(outcome.history["seconds"], [0, 1, 2])


def test_max_time_cuts_a_long_epoch_short(monkeypatch):
    clock = Clock(monkeypatch)
    program = Counter(step_loss=lambda n: clock.advance(0.4) or float(n))
    outcome = train(program, n_rows=1000, max_time=3.0, max_epochs=9)
    assert outcome.stopped_by == "max_time"
    # looks at 1.2, 2.4 and 3.6 s: after 3, 6 and 9 steps of 0.4 s
    assert program.n_steps == 9
    assert outcome.history["loss"][0] == pytest.approx(5.0)


def test_a_loss_that_is_lost_ends_its_epoch_within_a_second(monkeypatch):
    clock = Clock(monkeypatch)
    program = Counter(step_loss=lambda n: clock.advance(0.4) or math.nan)
    with pytest.raises(TrainingDivergedError):
        train(program, n_rows=1000, max_epochs=1)
    assert program.n_steps == 4 * 3


# ----------------------------------------------------------------------- interruption


def interrupt_at(n):
    def loss(k):
        if k == n:
            raise KeyboardInterrupt
        return 1.0

    return loss


def test_an_interrupt_keeps_the_best_weights():
    program = Counter(interrupt_at(8), script(3.0, 1.0, 2.0))
    outcome = train(program, validate=True)
    assert isinstance(outcome.interrupt, KeyboardInterrupt)
    assert (outcome.stopped_by, outcome.best_epoch) == ("interrupt", 2)
    assert len(outcome.history.rows) == 3
    assert program.weight == 4


def test_an_interrupt_without_validation_keeps_the_last_whole_epoch():
    program = Counter(interrupt_at(8))
    outcome = train(program)
    assert (len(outcome.history.rows), outcome.best_epoch) == (3, 3)
    assert program.weight == 6


def test_an_interrupt_in_a_callback_keeps_the_epoch_that_it_reports():
    def stop(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    program = Counter()
    outcome = train(program, callbacks=[stop])
    assert (len(outcome.history.rows), outcome.best_epoch) == (3, 3)
    assert program.weight == 6


def test_an_interrupt_before_the_first_epoch_is_over():
    program = Counter(interrupt_at(2))
    outcome = train(program, validate=True)
    assert (outcome.history.rows, outcome.best_epoch) == ([], 0)
    assert program.weight == 0


# -------------------------------------------------------------------------- resuming


def resumed(folder, program_of, stop_after, **options):
    """Return the program of a run that failed after an epoch and was started again."""

    class Power(Exception):
        pass

    def cut(row):
        if row["epoch"] == stop_after:
            raise Power

    checkpoint = Checkpoint(folder, "f" * 64)
    checkpoint.due = lambda: True
    with pytest.raises(Power):
        train(program_of(), checkpoint=checkpoint, callbacks=[cut], **options)
    assert checkpoint.path.exists()
    program = program_of()
    outcome = train(
        program, checkpoint=Checkpoint(folder, "f" * 64), seed=99, **options
    )
    assert not list(folder.iterdir())
    return program, outcome


class Regression(Program):
    """Momentum, noise and a plateau, so that anything that is lost would show."""

    def __init__(self):
        super().__init__()
        self.network = nn.Linear(3, 1)
        with torch.no_grad():
            for p in self.network.parameters():
                p.fill_(0.5)
        self.modules = {"network": self.network}
        self.optimizers = {"adam": torch.optim.Adam(self.network.parameters(), lr=0.1)}

    def step(self, batch, generator):
        (x,) = batch
        noise = torch.randn(len(x), generator=generator)
        loss = (self.network(x).squeeze(1) - x.sum(1) + noise).square().mean()
        self.optimizers["adam"].zero_grad()
        loss.backward()
        self.optimizers["adam"].step()
        return {"loss": loss.detach()}

    def validate(self, rows):
        (x,) = rows
        with torch.no_grad():
            error = (self.network(x).squeeze(1) - x.sum(1)).square()
        return {"loss": error.mean(), "loss_error": error.std() / 10}


@pytest.mark.parametrize("stop_after", [2, 5, 9])
@pytest.mark.parametrize("validate", [True, False])
def test_a_resumed_run_ends_as_the_uninterrupted_one(tmp_path, stop_after, validate):
    rows = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    held = [rows[:10]] if validate else None

    def go(program, seed=0, **options):
        generator = torch.Generator().manual_seed(seed)
        return run(
            program,
            [rows],
            RowSampler(30, 7),
            generator,
            max_epochs=12,
            validation=held,
            patience=4,
            schedule="cosine",
            **options,
        )

    straight = Regression()
    expected = go(straight)
    checkpoint = Checkpoint(tmp_path, "f" * 64)
    checkpoint.due = lambda: True

    def cut(row):
        if row["epoch"] == stop_after:
            raise RuntimeError

    last = len(expected.history.rows)
    if stop_after < last:
        with pytest.raises(RuntimeError):
            go(Regression(), checkpoint=checkpoint, callbacks=[cut])
    again = Regression()
    # another seed would show if the state of the generator were not in the file
    outcome = go(again, seed=1 if stop_after < last else 0, checkpoint=checkpoint)
    for mine, other in zip(again.weights(), straight.weights(), strict=True):
        assert torch.equal(mine, other)
    assert outcome.best_epoch == expected.best_epoch
    assert outcome.stopped_by == expected.stopped_by
    for name in ("epoch", "loss"):
        np.testing.assert_array_equal(outcome.history[name], expected.history[name])
    assert (np.diff(outcome.history["seconds"]) >= 0).all()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stop_after", [2, 4, 5, 6])
def test_a_resumed_run_remembers_its_plateau(tmp_path, stop_after):
    options = {"schedule": "plateau", "patience": 8, "n_rows": 1, "max_epochs": 8}
    straight = Counter()
    train(straight, **options)
    assert straight.rates == [2.0] * 3 + [1.0] * 2 + [0.5] * 2 + [0.25]
    program, _ = resumed(tmp_path, Counter, stop_after, **options)
    # the file is of the epoch before the last
    assert program.rates == straight.rates[stop_after - 1 :]


def test_a_resumed_run_remembers_its_retries(tmp_path):
    def program_of():
        program = Counter()
        program.step_loss = lambda n: 1.0 if program.rates[-1] < 0.5 else math.nan
        return program

    program, outcome = resumed(tmp_path, program_of, 3, n_rows=1)
    assert len(outcome.history.rows) == 5
    assert all(rate == pytest.approx(0.2) for rate in program.rates)


def test_a_resumed_run_remembers_its_best_weights(tmp_path):
    # the n-th validation of the second process is the n + 3rd epoch: none is better
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    program, outcome = resumed(
        tmp_path, lambda: Counter(epoch_loss=lambda n: next(losses)), 4, validate=True
    )
    assert outcome.best_epoch == 2
    assert program.weight == 4


def test_a_resumed_run_falls_back_to_weights_of_the_first_process(tmp_path):
    processes = []

    def program_of():
        program = Counter()
        if processes:  # the second process diverges in its first epoch
            program.step_loss = lambda n: math.nan if n == 1 else 1.0
        processes.append(program)
        return program

    program, _ = resumed(tmp_path, program_of, 4, n_rows=1)
    # saved after epoch 3, whose start, 2, was followed by a healthy epoch
    assert program.starts == [3, 2, 3]


def test_an_interrupted_run_can_be_resumed(tmp_path):
    checkpoint = Checkpoint(tmp_path, "a" * 64)
    checkpoint.due = lambda: True
    outcome = train(Counter(interrupt_at(6)), checkpoint=checkpoint)
    assert outcome.interrupt is not None
    assert checkpoint.path.exists()
    program = Counter()
    outcome = train(program, checkpoint=checkpoint)
    assert program.n_steps == 2 * 3
    assert program.weight == 10
    assert len(outcome.history.rows) == 5


def test_seconds_before_a_resumption_count_for_max_time(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    checkpoint = Checkpoint(tmp_path, "b" * 64)
    checkpoint.due = lambda: True

    def tick(row):
        clock.advance(1.0)
        if row["epoch"] == 3:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(Counter(), checkpoint=checkpoint, callbacks=[tick], max_epochs=99)
    clock.advance(1000.0)  # the time that the process was dead does not count
    outcome = train(
        Counter(),
        checkpoint=checkpoint,
        callbacks=[lambda row: clock.advance(1.0)],
        max_epochs=99,
        max_time=4.5,
    )
    assert outcome.stopped_by == "max_time"
    assert len(outcome.history.rows) == 5


# ------------------------------------------------------------------- foreign programs


class Foreign(Counter):
    def __init__(self):
        super().__init__()
        self.foreign = True
        self.draws = []

    def step(self, batch, generator):
        self.draws.append(float(torch.rand(())))
        return super().step(batch, generator)


def test_foreign_code_draws_from_shielded_streams():
    one, other, third = Foreign(), Foreign(), Foreign()
    train(one)
    torch.rand(5)
    train(other)
    train(third, seed=1)
    assert one.draws == other.draws != third.draws
    assert len(set(one.draws)) == len(one.draws)  # each epoch has its own stream
    program, before = Foreign(), torch.get_rng_state()
    train(program)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_bar_is_silent_by_default(capsys):
    train(Counter())
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    train(Counter(), verbose=True)
    assert "5/5" in capsys.readouterr().err


class Constrained(Counter):
    """Figures besides losses, and how far a constraint is broken, from scripts."""

    def __init__(self, infeasible, epoch_loss, multiplier=lambda n: 0.0):
        super().__init__(epoch_loss=epoch_loss)
        self.infeasible, self.multiplier = infeasible, multiplier
        self.figures = frozenset({"multiplier", "infeasibility"})

    def step(self, batch, generator):
        losses = super().step(batch, generator)
        return losses | {"multiplier": torch.tensor(self.multiplier(self.n_steps))}

    def validate(self, rows):
        found = super().validate(rows)
        broken = self.infeasible(self.n_validations)
        return found | {"infeasibility": torch.tensor(broken)}


@pytest.mark.parametrize(
    ("broken", "losses", "best"),
    [
        ([0.5, 0.0, 0.0, 0.2], [1.0, 4.0, 3.0, 0.5], 3),  # lowest loss of the feasible
        ([0.5, 0.2, 0.3, 0.4], [1.0, 4.0, 3.0, 0.5], 2),  # none is: broken least
        ([0.0, 0.0, 0.0, 0.0], [4.0, 1.0, 3.0, 2.0], 2),
    ],
)
def test_the_weights_that_are_kept_break_a_constraint_least(broken, losses, best):
    program = Constrained(lambda n: broken[n - 1], lambda n: losses[n - 1])
    outcome = train(program, validate=True, max_epochs=4)
    assert outcome.best_epoch == best
    assert program.weight == 2 * best


def test_a_constraint_that_is_broken_less_is_progress():
    falling = [0.9, 0.8, 0.7, 0.6, 0.5, 0.0, 0.0, 0.0]
    program = Constrained(lambda n: falling[n - 1], lambda n: float(n))
    outcome = train(program, validate=True, max_epochs=8, patience=2)
    assert outcome.stopped_by == "patience"
    assert outcome.best_epoch == 6  # two epochs before it stopped
    assert len(outcome.history.rows) == 8


def test_a_lower_loss_is_no_progress_where_a_constraint_is_broken_more():
    program = Constrained(lambda n: 0.1 * (n > 1), lambda n: 1.0 / n)
    outcome = train(program, validate=True, max_epochs=9, patience=3)
    assert len(outcome.history.rows) == 4


def test_a_figure_that_is_no_loss_may_grow_but_not_past_every_number():
    grows = Constrained(lambda n: 0.0, lambda n: 1.0, lambda n: 1e6 * (n - 1))
    assert train(grows, validate=True, max_epochs=3).stopped_by == "max_epochs"
    lost = Constrained(lambda n: 0.0, lambda n: 1.0, lambda n: math.nan)
    with pytest.raises(TrainingDivergedError, match="multiplier"):
        train(lost, max_epochs=3)
