"""The curve of a search over one parameter."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ._style import FAINT, PALETTE, figure_and_axes, merged, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def best_of_others(
    results: Mapping[str, Any], parameter: str, chosen: int, metric: str = "score"
) -> tuple[list[Any], list[int]]:
    """Return each value of a parameter and the candidate that stands for it.

    That is the best candidate with the value, except that `chosen` always stands for
    its own. Numbers are in rising order, other values in the order of the search.
    """
    tried = [candidate.get(parameter) for candidate in results["params"]]
    scores = np.nan_to_num(results[f"mean_test_{metric}"], nan=-np.inf)
    best: dict[str, tuple[Any, int]] = {}
    for index, value in enumerate(tried):
        rival = best.get(repr(value), (value, index))[1]
        wins = scores[index] > scores[rival] and rival != chosen
        best[repr(value)] = (value, index if wins or index == chosen else rival)
    pairs = list(best.values())
    if all(_is_number(value) for value, _ in pairs):
        pairs.sort(key=lambda pair: pair[0])
    return [value for value, _ in pairs], [index for _, index in pairs]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )


class SearchCurveDisplay:
    """Mean test score over one parameter of a search, with standard errors.

    The band is the best mean and one standard error below it: within it the search
    cannot tell candidates apart, and a rule such as `one_standard_error` takes the
    simplest.

    Parameters
    ----------
    values : list of length n_values
        The values that were tried.
    mean_scores : ndarray of shape (n_values,)
        Mean test score over the splits, higher is better.
    standard_errors : ndarray of shape (n_values,)
        Of the mean, in units of the score.
    chosen : int, default=None
        Which of them the search chose.
    parameter_name : str, default="parameter"
    score_name : str, default="mean test score"

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    errorbar_ : matplotlib ErrorbarContainer
    band_ : matplotlib artist
        The best mean and one standard error below it.
    chosen_ : matplotlib Line2D or None

    Examples
    --------
    >>> from manifoldgen import SearchCurveDisplay
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> X, _ = load_iris(return_X_y=True)
    >>> search = GridSearchCV(PCA(), {"n_components": [1, 2, 3]}, cv=3).fit(X)
    >>> SearchCurveDisplay.from_estimator(search, parameter="n_components").values
    [1, 2, 3]
    """

    def __init__(
        self,
        *,
        values: Sequence[Any],
        mean_scores: NDArray[np.float64],
        standard_errors: NDArray[np.float64],
        chosen: int | None = None,
        parameter_name: str = "parameter",
        score_name: str = "mean test score",
    ) -> None:
        self.values = values
        self.mean_scores = mean_scores
        self.standard_errors = standard_errors
        self.chosen = chosen
        self.parameter_name = parameter_name
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        parameter: str | None = None,
        metric: str = "score",
        score_name: str | None = None,
        **plot_kwargs: Any,
    ) -> "SearchCurveDisplay":
        """Draw the result of a fitted search.

        Where other parameters were searched too, each value is shown with the best
        of them.

        Parameters
        ----------
        estimator : GridSearchCV or RandomizedSearchCV, fitted
        parameter : str, default=None
            Its name in the search; None where it is the only one.
        metric : str, default="score"
            Which score, where ``scoring`` of the search names several.
        score_name : str, default=None
            What the vertical axis is called; None is ``mean test <metric>``.
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : SearchCurveDisplay

        Raises
        ------
        ValueError
            If `parameter` was not searched or `metric` not scored, or there are
            several parameters and none is named.
        """
        check_is_fitted(estimator, "cv_results_")
        results = estimator.cv_results_
        parameter = _searched(results, parameter, metric)
        chosen = getattr(estimator, "best_index_", -1)
        values, candidates = best_of_others(results, parameter, chosen, metric)
        errors = results[f"std_test_{metric}"] / np.sqrt(estimator.n_splits_)
        display = cls(
            values=values,
            mean_scores=results[f"mean_test_{metric}"][candidates],
            standard_errors=errors[candidates],
            chosen=candidates.index(chosen) if chosen in candidates else None,
            parameter_name=parameter,
            score_name=score_name or f"mean test {metric}",
        )
        return display.plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        errorbar_kwargs: dict[str, Any] | None = None,
    ) -> "SearchCurveDisplay":
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        errorbar_kwargs : dict, default=None
            Handed to `Axes.errorbar`.

        Returns
        -------
        self : SearchCurveDisplay
        """
        self.figure_, self.ax_ = figure_and_axes(
            ax, (5.6, 3.6), "SearchCurveDisplay.plot"
        )
        means = np.asarray(self.mean_scores, dtype=np.float64)
        errors = np.asarray(self.standard_errors, dtype=np.float64)
        places, log = _places(self.values)
        if log:
            self.ax_.set_xscale("log", base=2)
        self._plot_band(means, errors)
        defaults = {
            "color": PALETTE[0],
            "marker": "o",
            "markersize": 5,
            "linewidth": 1.6,
            "elinewidth": 1.2,
            "capsize": 3,
            "label": "mean ± 1 standard error",
        }
        kwargs = merged(defaults, errorbar_kwargs)
        self.errorbar_ = self.ax_.errorbar(places, means, yerr=errors, **kwargs)
        self._mark_chosen(places, means)
        quiet(self.ax_, grid="y")
        self.ax_.set_xticks(places, [_short(value) for value in self.values])
        self.ax_.set_xticks([], minor=True)
        self.ax_.set(xlabel=self.parameter_name, ylabel=self.score_name)
        self.ax_.legend(frameon=False, loc="best")
        return self

    def _plot_band(
        self, means: NDArray[np.float64], errors: NDArray[np.float64]
    ) -> None:
        self.band_ = None
        if not np.isfinite(means).any():
            return
        best = int(np.nanargmax(means))
        self.band_ = self.ax_.axhspan(
            means[best] - errors[best],
            means[best],
            color=FAINT,
            alpha=0.6,
            linewidth=0,
            zorder=0,
            label="within 1 standard error of the best",
        )

    def _mark_chosen(self, places: NDArray[Any], means: NDArray[np.float64]) -> None:
        self.chosen_ = None
        if self.chosen is None:
            return
        (self.chosen_,) = self.ax_.plot(
            places[self.chosen],
            means[self.chosen],
            marker="o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=PALETTE[2],
            markeredgewidth=1.8,
            linestyle="none",
            label=f"chosen: {_short(self.values[self.chosen])}",
        )


def _searched(results: Mapping[str, Any], parameter: str | None, metric: str) -> str:
    """Return the name of the searched parameter to draw over."""
    names = [key.removeprefix("param_") for key in results if key.startswith("param_")]
    if f"mean_test_{metric}" not in results:
        start = "mean_test_"
        scored = [key.removeprefix(start) for key in results if key.startswith(start)]
        raise ValueError(
            f"metric must be one that the search scored: {', '.join(scored)}; got "
            f"{metric!r}."
        )
    if parameter is None and len(names) == 1:
        return names[0]
    if parameter not in names:
        choices = ", ".join(repr(name) for name in names)
        raise ValueError(f"parameter must be one of {choices}, got {parameter!r}.")
    return parameter


def _places(values: Sequence[Any]) -> tuple[NDArray[np.float64], bool]:
    """Return where the values stand, and whether on a logarithmic axis."""
    if not all(_is_number(value) for value in values):
        return np.arange(len(values), dtype=np.float64), False
    places = np.array(values, dtype=np.float64)
    wide = len(places) > 2 and places.min() > 0 and places.max() >= 8 * places.min()
    return places, bool(wide)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
