from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator

from manifoldgen import ConstraintHistoryDisplay
from manifoldgen.training.history import History

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class Trained(BaseEstimator):
    """Has what our estimators have after a training with a constraint."""

    def __init__(self, constraint=None):
        self.constraint = constraint

    def fit(self, X=None, y=None):
        rows = [
            {"epoch": 1, "loss": 2.0, "violation": 0.4, "multiplier": 0.1},
            {"epoch": 2, "loss": 1.0, "violation": 0.2, "multiplier": 0.3},
            {"epoch": 3, "loss": 1.5, "violation": 0.04, "multiplier": 0.35},
        ]
        rows[1]["validation_violation"] = 0.25
        rows[2]["constraint"] = -0.5
        self.history_ = History(rows)
        self.best_epoch_ = 3
        if self.constraint is not None:
            self.constraint_ = SimpleNamespace(tolerance_=0.05, **self.constraint)
        return self


def heights(line):
    return np.asarray(line.get_ydata()).tolist()


def test_violation_and_multiplier_are_above_each_other():
    fitted = Trained({"form": "quantile", "multiplier": None}).fit()
    display = ConstraintHistoryDisplay.from_estimator(fitted)
    assert list(display.axes_) == ["violation", "multiplier"]
    assert display.axes_["violation"] is not display.axes_["multiplier"]
    assert heights(display.lines_["violation"]) == [0.4, 0.2, 0.04]
    assert heights(display.lines_["multiplier"]) == [0.1, 0.3, 0.35]
    held_out = display.lines_["validation_violation"]
    assert held_out.get_xydata().tolist() == [[2.0, 0.25]]
    assert display.lines_["violation"].axes is display.axes_["violation"]
    assert display.name == "Trained"


def test_lines_are_at_tolerance_and_target():
    fitted = Trained({"form": "hinge", "multiplier": None}).fit()
    display = ConstraintHistoryDisplay.from_estimator(fitted)
    assert heights(display.tolerance_) == [0.05, 0.05]
    np.testing.assert_allclose(heights(display.target_), 0.045)
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts[-2:] == ["tolerance 0.05", "target 0.045"]
    given = ConstraintHistoryDisplay.from_estimator(fitted, tolerance=0.3, target=0.1)
    assert (given.tolerance, given.target) == (0.3, 0.1)


def test_a_penalty_has_no_target_and_a_mean_no_tolerance():
    penalty = Trained({"form": "hinge", "multiplier": 2.0}).fit()
    display = ConstraintHistoryDisplay.from_estimator(penalty)
    assert (display.tolerance, display.target_) == (0.05, None)
    mean = Trained({"form": "mean", "multiplier": None}).fit()
    display = ConstraintHistoryDisplay.from_estimator(mean)
    assert display.tolerance_ is display.target_ is None
    display = ConstraintHistoryDisplay.from_estimator(Trained().fit())
    assert display.tolerance_ is display.target_ is None


def test_figures_are_chosen_by_name():
    display = ConstraintHistoryDisplay.from_estimator(
        Trained().fit(), curves=["multiplier", "constraint"]
    )
    assert list(display.axes_) == ["multiplier", "constraint"]
    assert display.lines_["constraint"].get_marker() == "o"  # one epoch alone has it
    with pytest.raises(ValueError, match=r"one of \['violation', 'multiplier', 'const"):
        display.plot(curves=["loss"])
    with pytest.raises(ValueError, match=r"one of \['multiplier'\], which were"):
        ConstraintHistoryDisplay(history={"multiplier": [1.0]}).plot(curves=[])


def test_axes_are_taken_one_for_each_figure():
    history = {"violation": [0.5, 0.1], "multiplier": [0.0, 1.0]}
    display = ConstraintHistoryDisplay(history=history, tolerance=0.1)
    ax = Figure().add_subplot()
    assert display.plot(ax).axes_ == {"violation": ax}
    pair = Figure().subplots(1, 2)
    assert list(display.plot(pair).axes_.values()) == list(pair)
    assert not plt.get_fignums()  # all was drawn where it was asked for
    with pytest.raises(ValueError, match="ax must be one Axes for each of"):
        display.plot(pair, curves=["violation"])


def test_wide_shares_are_logarithmic_and_none_of_them_at_the_lower_end():
    history = {"violation": [0.9, 0.1, 0.01, 0.0]}
    ax = ConstraintHistoryDisplay(history=history).plot().axes_["violation"]
    assert ax.get_yscale() == "log"
    assert 0.0 < ax.get_ylim()[0] < 0.01
    ax = ConstraintHistoryDisplay(history=history).plot(log=False).axes_["violation"]
    assert (ax.get_yscale(), ax.get_ylim()[0]) == ("linear", 0.0)
    # a training that broke nothing
    kept = ConstraintHistoryDisplay(history={"violation": [0.0, 0.0]}).plot()
    assert kept.axes_["violation"].get_yscale() == "linear"


def test_bad_input():
    plain = Trained().fit()
    plain.history_ = History([{"epoch": 1, "loss": 1.0}])
    with pytest.raises(ValueError, match="trained with a constraint, but history_ of"):
        ConstraintHistoryDisplay.from_estimator(plain)
    with pytest.raises(TypeError, match="history_, which Trained does not"):
        ConstraintHistoryDisplay.from_estimator(Trained())
    with pytest.raises(ValueError, match=r"tolerance must be a number in \[0, 1\]"):
        ConstraintHistoryDisplay(history={"violation": [1.0]}, tolerance=5.0).plot()
