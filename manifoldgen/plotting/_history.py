"""Curves of what training recorded."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._estimators import trained_step
from ._style import INK, MUTED, PALETTE, figure_and_axes, merged, pyplot, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOOKKEEPING = ("epoch", "seconds", "time", "learning_rate")
VALIDATION = "validation_"
ERROR = "_error"


def curves_by_panel(names: Sequence[str]) -> list[list[str]]:
    """Return the curves of each panel.

    A figure and its value on validation rows share one. The losses of adversaries
    share one too, and then a validation loss is of another kind than any of them.
    """
    losses = [n for n in names if n.endswith("loss") and not n.startswith(VALIDATION)]
    panels: dict[str, list[str]] = {}
    for name in names:
        if name in losses:
            panel = "loss"
        elif name == VALIDATION + "loss" and len(losses) > 1:
            panel = name
        else:
            panel = name.removeprefix(VALIDATION)
        panels.setdefault(panel, []).append(name)
    return [sorted(curves, key=len) for curves in panels.values()]


def spans_decades(values: NDArray[Any]) -> bool:
    """Tell whether positive values range over a factor of 30 and more."""
    finite = values[np.isfinite(values)]
    return len(finite) > 1 and finite.min() > 0 and finite.max() > 30 * finite.min()


class TrainingHistoryDisplay:
    """The figures that training recorded, over the epochs.

    Parameters
    ----------
    history : mapping of str to ndarray of shape (n_epochs,)
        A figure by name; NaN where an epoch has none. "epoch", where it is there, is
        the horizontal axis, and "<name>_error" a band around "<name>".
    best_epoch : int, default=None
        The epoch whose weights were kept, marked by a line.
    name : str, default=None
        What was trained, the title of the figure.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One for each figure, shared with its values on validation rows.
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        The curves by name.

    Examples
    --------
    >>> from manifoldgen import TrainingHistoryDisplay
    >>> history = {"loss": [3.0, 2.0, 1.0], "validation_loss": [3.0, 2.0, 2.5]}
    >>> display = TrainingHistoryDisplay(history=history, best_epoch=2).plot()
    >>> sorted(display.lines_)
    ['loss', 'validation_loss']
    """

    def __init__(
        self,
        *,
        history: Mapping[str, Any],
        best_epoch: int | None = None,
        name: str | None = None,
    ) -> None:
        self.history = history
        self.best_epoch = best_epoch
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, step: str | None = None, **plot_kwargs: Any
    ) -> "TrainingHistoryDisplay":
        """Draw what a fitted estimator recorded while it trained.

        Parameters
        ----------
        estimator : estimator, Pipeline or search, fitted
            With `history_`, or with a step that has one.
        step : str, default=None
            Which step of a Pipeline; None where one step alone was trained.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : TrainingHistoryDisplay

        Raises
        ------
        TypeError
            If nothing here has a history.
        ValueError
            If `step` names no step with a history, or several have one.
        """
        trained, step = trained_step(estimator, step)
        display = cls(
            history=trained.history_,
            best_epoch=getattr(trained, "best_epoch_", None),
            name=step or type(trained).__name__,
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        curves: Sequence[str] | None = None,
        log: bool | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> "TrainingHistoryDisplay":
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            One axes for all curves; None gives each figure a panel.
        curves : sequence of str, default=None
            Which figures, by name; None is all but times and step sizes.
        log : bool, default=None
            Logarithmic heights; None where positive values span a factor of 30.
        line_kwargs : dict, default=None
            Handed to `Axes.plot`.

        Returns
        -------
        self : TrainingHistoryDisplay

        Raises
        ------
        ValueError
            If `curves` names a figure that was not recorded.
        """
        names = self._names(curves)
        panels = curves_by_panel(names) if ax is None else [names]
        self._make_axes(ax, len(panels))
        epochs = np.asarray(
            self.history.get("epoch", 1 + np.arange(len(self.history[names[0]])))
        )
        self.lines_: dict[str, Any] = {}
        for panel, shown in zip(self.axes_, panels, strict=True):
            self._plot_panel(panel, epochs, shown, line_kwargs)
            heights = np.concatenate([np.asarray(self.history[n]) for n in shown])
            if spans_decades(heights) if log is None else log:
                panel.set_yscale("log")
        self._name_curves()
        return self

    def _names(self, curves: Sequence[str] | None) -> list[str]:
        errors = [name + ERROR for name in self.history]
        recorded = [n for n in self.history if n not in (*BOOKKEEPING, *errors)]
        names = recorded if curves is None else list(curves)
        unknown = [name for name in names if name not in self.history]
        if unknown or not names:
            raise ValueError(
                f"curves must name at least one of {recorded}, got {curves!r}."
            )
        return names

    def _make_axes(self, ax: "Axes | None", n_panels: int) -> None:
        caller = "TrainingHistoryDisplay.plot"
        if ax is not None:
            self.figure_, ax = figure_and_axes(ax, (0, 0), caller)
            self.axes_ = np.array([ax])
            return
        n_columns = 2 if n_panels == 4 else min(n_panels, 3)
        n_rows = -(-n_panels // n_columns)
        self.figure_, grid = pyplot(caller).subplots(
            n_rows,
            n_columns,
            figsize=(max(4.6, 3.4 * n_columns), 2.7 * n_rows + 0.3),
            layout="constrained",
            squeeze=False,
        )
        for spare in grid.ravel()[n_panels:]:
            spare.remove()
        self.axes_ = grid.ravel()[:n_panels]
        if self.name is not None:
            self.figure_.suptitle(self.name, fontsize="medium")

    def _plot_panel(
        self,
        ax: "Axes",
        epochs: NDArray[Any],
        names: list[str],
        line_kwargs: dict[str, Any] | None,
    ) -> None:
        for k, name in enumerate(names):
            style = {"color": PALETTE[k % 10], "linewidth": 1.6, "label": _plain(name)}
            self._plot_curve(ax, epochs, name, merged(style, line_kwargs))
        if self.best_epoch is not None:
            label = f"best epoch: {self.best_epoch}"
            ax.axvline(self.best_epoch, color=MUTED, linestyle=":", label=label)
        quiet(ax, grid="y")
        ax.set_xlabel("epoch")
        ax.locator_params(axis="x", integer=True)
        if len(names) == 1:
            ax.set_title(_plain(names[0]), fontsize="medium", color=INK)

    def _plot_curve(
        self, ax: "Axes", epochs: NDArray[Any], name: str, kwargs: dict[str, Any]
    ) -> None:
        values = np.asarray(self.history[name], dtype=np.float64)
        seen = np.isfinite(values)
        if seen.sum() == 1:
            kwargs = {"marker": "o", **kwargs}
        x, y = epochs[seen], values[seen]
        (self.lines_[name],) = ax.plot(x, y, **kwargs)
        if name + ERROR in self.history:
            error = np.asarray(self.history[name + ERROR], dtype=np.float64)[seen]
            color = self.lines_[name].get_color()
            ax.fill_between(x, y - error, y + error, color=color, alpha=0.2, lw=0)

    def _name_curves(self) -> None:
        """Name the curves of shared panels, and once the line of the best epoch."""
        for k, ax in enumerate(self.axes_):
            named = [line for line in ax.lines if line in self.lines_.values()]
            handles = named if len(named) > 1 else []
            if k == 0 and self.best_epoch is not None:
                handles = [*handles, ax.lines[-1]]
            if handles:
                ax.legend(handles=handles, edgecolor="none", handlelength=1.2)


def _plain(name: str) -> str:
    return name.replace("_", " ")
