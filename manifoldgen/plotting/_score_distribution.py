"""How the scores of normal rows and of others are distributed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._validation import check_int, check_real
from ._history import spans_decades
from ._scorers import answers_of, numbers_of, rows_of_scorer, scorer_of, threshold_of
from ._style import INK, PALETTE, figure_and_axes, merged, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_SETS = len(PALETTE)


def bin_edges(
    values: NDArray[np.float64], n_bins: int, log: bool
) -> NDArray[np.float64]:
    """Return the edges of bins that hold all finite values.

    Parameters
    ----------
    values : ndarray of shape (n,)
        At least one is finite; all of those positive where `log`.
    n_bins : int
    log : bool
        Whether bins are even in the logarithm.

    Returns
    -------
    edges : ndarray of shape (n_bins + 1,), float64
    """
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if low == high:  # bins need a width
        half = 0.5 * max(abs(low), 1e-300) if low else 0.5
        low, high = low - half, high + half
    if not log:
        return np.linspace(low, high, n_bins + 1)
    edges = np.geomspace(low, high, n_bins + 1)
    edges[[0, -1]] = low, high  # which rounding may have left outside
    return edges


def share_text(share: float) -> str:
    """Return a share in percent: of few rows more than one digit says nothing."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


class ScoreDistributionDisplay:
    """How far the rows of several sets are, and how many are beyond a threshold.

    Histograms of minus the score, so that what does not belong is on the right. Each
    adds up to 1, and a legend tells the share of the rows beyond the threshold: of
    normal rows that of false alarms, of others that of rows which are found.

    Parameters
    ----------
    scores : mapping of str to ndarray of shape (n,)
        By the name of the set, at most 10 of them; high is normal, as `score_samples`
        returns it. Minus infinity is counted, but has no place in a histogram.
    threshold : float, default=None
        The score below which rows are outliers, such as `offset_`.
    axis_name : str, default="distance (minus the score)"
        What the horizontal axis is called.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    histograms_ : dict of str to matplotlib StepPatch
        By the name of the set.
    threshold_ : matplotlib Line2D or None
    shares_ : dict of str to float
        Share of the rows of each set beyond the threshold; empty without one.
    legend_ : matplotlib Legend

    Examples
    --------
    >>> from manifoldgen import MahalanobisScorer, ScoreDistributionDisplay
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> scorer = MahalanobisScorer(random_state=0).fit(X[:40])
    >>> display = ScoreDistributionDisplay.from_estimator(
    ...     scorer, X[40:50], {"versicolor": X[50:100], "virginica": X[100:]}
    ... )
    >>> display.shares_
    {'normal': 0.3, 'versicolor': 1.0, 'virginica': 1.0}
    """

    def __init__(
        self,
        *,
        scores: Mapping[str, NDArray[np.float64]],
        threshold: float | None = None,
        axis_name: str = "distance (minus the score)",
    ) -> None:
        self.scores = scores
        self.threshold = threshold
        self.axis_name = axis_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        others: Mapping[str, Any] | None = None,
        *,
        threshold: float | None = None,
        **plot_kwargs: Any,
    ) -> "ScoreDistributionDisplay":
        """Draw the scores that a fitted estimator gives to sets of rows.

        Parameters
        ----------
        estimator : estimator, Pipeline or search, fitted
            With `score_samples`.
        X : array-like of shape (n, n_features)
            Normal rows that it was not fitted on: training rows look nearer than new
            ones.
        others : mapping of str to array-like, default=None
            Other sets of rows by name.
        threshold : float, default=None
            The score below which rows are outliers; None takes `offset_` of the
            estimator, or of the last step, where there is one.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ScoreDistributionDisplay

        Raises
        ------
        TypeError
            If `estimator` has no `score_samples`.
        ValueError
            As `from_scores`.
        """
        head, scorer = scorer_of(estimator)
        sets = {"normal": X, **(others or {})}
        scores = {
            name: answers_of(scorer, "score_samples", rows_of_scorer(head, rows))
            for name, rows in sets.items()
        }
        if threshold is None:
            threshold = threshold_of(scorer)
        return cls.from_scores(scores, threshold=threshold, **plot_kwargs)

    @classmethod
    def from_scores(
        cls,
        scores: Mapping[str, Any],
        *,
        threshold: float | None = None,
        **plot_kwargs: Any,
    ) -> "ScoreDistributionDisplay":
        """Draw scores that are here already.

        Parameters
        ----------
        scores : mapping of str to array-like of shape (n,)
            By the name of the set; high is normal.
        threshold : float, default=None
            The score below which rows are outliers.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ScoreDistributionDisplay

        Raises
        ------
        ValueError
            If there is no set or more than 10, a set is empty or holds NaN, or no
            score is finite.
        """
        if not 1 <= len(scores) <= MAX_SETS:
            raise ValueError(
                f"scores must hold between 1 and {MAX_SETS} sets, got {len(scores)}."
            )
        found = {
            name: numbers_of(f"scores[{name!r}]", of) for name, of in scores.items()
        }
        if not any(np.isfinite(of).any() for of in found.values()):
            raise ValueError("scores must hold one that is finite, got none.")
        if threshold is not None:
            threshold = check_real("threshold", threshold)
        return cls(scores=found, threshold=threshold).plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        log: bool | None = None,
        n_bins: int | None = None,
        histogram_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> "ScoreDistributionDisplay":
        """Draw the histograms.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        log : bool, default=None
            Logarithmic distances, in bins that are even there; None where all are
            positive and span a factor of 30.
        n_bins : int, default=None
            Bins that all sets share; None is the square root of the number of rows of
            the largest set, between 10 and 60.
        histogram_kwargs : dict, default=None
            Handed to `Axes.stairs`.
        line_kwargs : dict, default=None
            Handed to `Axes.axvline`, for the threshold.

        Returns
        -------
        self : ScoreDistributionDisplay

        Raises
        ------
        ValueError
            If `log` is asked for and a distance is not positive.
        """
        distances = {name: -np.asarray(of) for name, of in self.scores.items()}
        together = np.concatenate(list(distances.values()))
        finite = together[np.isfinite(together)]
        if log is None:
            log = bool(spans_decades(finite))
        if log and finite.min() <= 0:
            raise ValueError(
                "log must be False where a distance is not positive, got one of "
                f"{finite.min():.3g}."
            )
        if n_bins is None:
            largest = max(len(of) for of in distances.values())
            n_bins = int(np.clip(np.sqrt(largest), 10, 60))
        edges = bin_edges(together, check_int("n_bins", n_bins), log)
        caller = "ScoreDistributionDisplay.plot"
        self.figure_, self.ax_ = figure_and_axes(ax, (7.4, 3.4), caller)
        self.shares_ = {}
        if self.threshold is not None:
            self.shares_ = {
                name: float(np.mean(np.asarray(of) < self.threshold))
                for name, of in self.scores.items()
            }
        self.histograms_: dict[str, Any] = {}
        for number, (name, of) in enumerate(distances.items()):
            self._plot_set(number, name, of, edges, histogram_kwargs)
        self._plot_threshold(log, line_kwargs)
        self._name_axes(log)
        return self

    def _plot_set(
        self,
        number: int,
        name: str,
        distances: NDArray[np.float64],
        edges: NDArray[np.float64],
        given: dict[str, Any] | None,
    ) -> None:
        shares = np.histogram(distances, edges)[0] / len(distances)
        color = PALETTE[number]
        label = name
        if name in self.shares_:
            label = f"{name}: {share_text(self.shares_[name])} beyond"
        style = {"color": color, "fill": True, "alpha": 0.3, "label": label}
        kwargs = merged(style, given)
        self.histograms_[name] = self.ax_.stairs(shares, edges, **kwargs)
        # the outline is what tells sets apart where they lie over each other
        outline = np.where(shares > 0, shares, np.nan)
        self.ax_.stairs(outline, edges, color=kwargs["color"], linewidth=1.4)

    def _plot_threshold(self, log: bool, given: dict[str, Any] | None) -> None:
        self.threshold_: Any = None
        if self.threshold is None or (log and self.threshold >= 0):
            return
        label = f"threshold {-self.threshold:.3g}"
        style = {"color": INK, "linestyle": "--", "linewidth": 1.2, "label": label}
        self.threshold_ = self.ax_.axvline(-self.threshold, **merged(style, given))

    def _name_axes(self, log: bool) -> None:
        quiet(self.ax_)
        if log:
            self.ax_.set_xscale("log")
        self.ax_.set(xlabel=self.axis_name, ylabel="share of the rows")
        self.ax_.set_ylim(bottom=0.0)
        self.legend_ = self.ax_.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False
        )
