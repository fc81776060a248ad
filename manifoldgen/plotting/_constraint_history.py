"""How a constrained training came to keep its constraint."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._validation import check_real
from ._estimators import trained_step
from ._history import VALIDATION, spans_decades
from ._style import INK, MUTED, PALETTE, merged, pyplot, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = {
    "violation": "share of rows beyond epsilon",
    "multiplier": "multiplier",
    "constraint": "excess that rows descend",
}


class ConstraintHistoryDisplay:
    """Violation and multiplier of a constrained training, over its epochs.

    The multiplier rises while rows are beyond epsilon more often than they should be,
    and falls while they are less often. Where it settles and the violation stays at the
    target, the constraint is met at the least cost to what is minimised besides; where
    it still rises at the end, epochs are too few or epsilon is out of reach; at 0 the
    constraint costs nothing.

    Parameters
    ----------
    history : mapping of str to ndarray of shape (n_epochs,)
        "violation", share of rows beyond epsilon, "multiplier" and "constraint", each
        where it is there, with "validation_" before what an epoch ended with; NaN where
        it has none. "epoch" is the horizontal axis.
    tolerance : float, default=None
        Share of rows that may be beyond epsilon.
    target : float, default=None
        Share of rows that the multiplier holds them to, below the tolerance.
    best_epoch : int, default=None
        The epoch whose weights were kept.
    name : str, default=None
        What was trained, the title of the figure.

    Attributes
    ----------
    axes_ : dict of str to matplotlib Axes
        By the figure that is drawn there.
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        The curves by name.
    tolerance_, target_ : matplotlib Line2D or None
    legend_ : matplotlib Legend or None
        Of the violation.

    See Also
    --------
    TrainingHistoryDisplay : All figures of a training.

    Examples
    --------
    >>> from manifoldgen import ConstraintHistoryDisplay
    >>> history = {"violation": [0.5, 0.2, 0.04], "multiplier": [0.1, 0.4, 0.5]}
    >>> display = ConstraintHistoryDisplay(history=history, tolerance=0.05).plot()
    >>> list(display.axes_)
    ['violation', 'multiplier']
    """

    def __init__(
        self,
        *,
        history: Mapping[str, Any],
        tolerance: float | None = None,
        target: float | None = None,
        best_epoch: int | None = None,
        name: str | None = None,
    ) -> None:
        self.history = history
        self.tolerance = tolerance
        self.target = target
        self.best_epoch = best_epoch
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        step: str | None = None,
        tolerance: float | None = None,
        target: float | None = None,
        **plot_kwargs: Any,
    ) -> "ConstraintHistoryDisplay":
        """Draw how a fitted estimator was held to its constraint.

        Parameters
        ----------
        estimator : estimator, Pipeline or search, fitted
            With `history_` of a training with ``constraint=``, or with a step that has
            one.
        step : str, default=None
            Which step of a Pipeline; None where one step alone was trained.
        tolerance, target : float, default=None
            None takes the tolerance of its `constraint_`, and nine tenths of that,
            which its multiplier aims at.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ConstraintHistoryDisplay

        Raises
        ------
        TypeError
            If nothing here has a history.
        ValueError
            If `step` names no step with a history, or the training had no constraint.
        """
        trained, step = trained_step(estimator, step)
        if not any(name in trained.history_ for name in ("violation", "multiplier")):
            raise ValueError(
                "estimator must have been trained with a constraint, but history_ of "
                f"{type(trained).__name__} has no violation. Set constraint=."
            )
        held = getattr(trained, "constraint_", None)
        # of the mean excess, or at a weight that is given, there is no such share
        if held is not None and getattr(held, "form", None) != "mean":
            tolerance = held.tolerance_ if tolerance is None else tolerance
            if target is None and getattr(held, "multiplier", None) is None:
                from ..nn.constraints import AIM

                target = AIM * tolerance
        display = cls(
            history=trained.history_,
            tolerance=tolerance,
            target=target,
            best_epoch=getattr(trained, "best_epoch_", None),
            name=step or type(trained).__name__,
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | Sequence[Axes] | None" = None,
        *,
        curves: Sequence[str] | None = None,
        log: bool | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> "ConstraintHistoryDisplay":
        """Draw the curves, each figure in a panel.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, default=None
            One for each of `curves`. One alone takes the violation; None makes a
            figure.
        curves : sequence of str, default=None
            Of "violation", "multiplier" and "constraint"; None is the first two, where
            they were recorded.
        log : bool, default=None
            Logarithmic violation; None where it spans a factor of 30.
        line_kwargs : dict, default=None
            Handed to `Axes.plot`.

        Returns
        -------
        self : ConstraintHistoryDisplay

        Raises
        ------
        ValueError
            If `curves` names what was not recorded, the tolerance or the target is no
            share, or there are not as many `ax` as curves.
        """
        if ax is not None and curves is None and np.ndim(ax) == 0:  # type: ignore[arg-type]
            curves = ["violation"]
        names = self._names(curves)
        for name in ("tolerance", "target"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), 0.0, 1.0)
        self._make_axes(ax, names)
        self.lines_: dict[str, Any] = {}
        self.tolerance_: Any = None
        self.target_: Any = None
        self.legend_: Any = None
        for name, panel in self.axes_.items():
            self._plot_panel(panel, name, line_kwargs)
            if name == "violation":
                self._plot_shares(panel, log)
        list(self.axes_.values())[-1].set_xlabel("epoch")
        return self

    def _names(self, curves: Sequence[str] | None) -> list[str]:
        recorded = [name for name in CURVES if name in self.history]
        names = list(curves) if curves is not None else recorded[:2]
        if not names or not set(names) <= set(recorded):
            raise ValueError(
                f"curves must name at least one of {recorded}, which were recorded, "
                f"got {curves!r}."
            )
        return names

    def _make_axes(self, ax: Any, names: list[str]) -> None:
        plt = pyplot("ConstraintHistoryDisplay.plot")
        if ax is None:
            self.figure_, grid = plt.subplots(
                len(names),
                1,
                figsize=(5.4, 1.9 * len(names) + 0.6),
                layout="constrained",
                sharex=True,
                squeeze=False,
            )
            if self.name is not None:
                self.figure_.suptitle(self.name, fontsize="medium")
            axes = list(grid.ravel())
        else:
            axes = list(np.atleast_1d(ax).ravel())
            self.figure_ = axes[0].get_figure()
        if len(axes) != len(names):
            raise ValueError(
                f"ax must be one Axes for each of {names}, got {len(axes)}."
            )
        self.axes_: dict[str, Axes] = dict(zip(names, axes, strict=True))

    def _epochs(self, n: int) -> NDArray[Any]:
        return np.asarray(self.history.get("epoch", 1 + np.arange(n)))

    def _plot_panel(self, ax: "Axes", name: str, given: dict[str, Any] | None) -> None:
        shown = [n for n in (name, VALIDATION + name) if n in self.history]
        for number, curve in enumerate(shown):
            values = np.asarray(self.history[curve], dtype=np.float64)
            seen = np.isfinite(values)
            label = "validation" if number else "training"
            style = {"color": PALETTE[number], "linewidth": 1.6, "label": label}
            if seen.sum() == 1:
                style["marker"] = "o"
            x, y = self._epochs(len(values))[seen], values[seen]
            (self.lines_[curve],) = ax.plot(x, y, **merged(style, given))
        if self.best_epoch is not None:
            ax.axvline(
                self.best_epoch,
                color=MUTED,
                linestyle=":",
                label=f"best epoch: {self.best_epoch}",
            )
        quiet(ax, grid="y")
        ax.set_title(CURVES[name], fontsize="medium", color=INK)
        ax.locator_params(axis="x", integer=True)
        if name != "violation":
            ax.axhline(0.0, color=MUTED, linewidth=0.8)

    def _plot_shares(self, ax: "Axes", log: bool | None) -> None:
        style: dict[str, Any] = {"color": INK, "linewidth": 1.2}
        if self.tolerance is not None:
            label = f"tolerance {self.tolerance:.3g}"
            style |= {"linestyle": "--", "label": label}
            self.tolerance_ = ax.axhline(self.tolerance, **style)
        if self.target is not None:
            label = f"target {self.target:.3g}"
            style |= {"color": MUTED, "linestyle": "-.", "label": label}
            self.target_ = ax.axhline(self.target, **style)
        heights = [
            np.asarray(line.get_ydata())
            for name, line in self.lines_.items()
            if name.endswith("violation")
        ]
        values = np.concatenate(heights)
        # a share of 0 has no logarithm, and is drawn at the lower end
        positive = values[values > 0]
        if spans_decades(positive) if log is None else log:
            ax.set_yscale("log", nonpositive="clip")
            if len(positive):
                ax.set_ylim(bottom=positive.min() / 1.5)
        else:
            ax.set_ylim(bottom=0.0)
        self.legend_ = ax.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False
        )
