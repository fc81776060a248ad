"""Distances or p-values of new rows against the law that they should follow."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, betabinom, chi2, uniform

from .._validation import check_choice, check_int, check_real
from ..outliers._base import DistanceScorer
from ..outliers._pvalues import scaled_f
from ._history import spans_decades
from ._scorers import answers_of, numbers_of, rows_of_scorer, scorer_of
from ._style import FAINT, INK, MUTED, PALETTE, figure_and_axes, merged, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Law = Literal["chi2", "f", "uniform"]
LAWS: tuple[Law, ...] = ("chi2", "f", "uniform")
MAX_PLACES = 120  # of the band: between them it is drawn straight
RASTER_POINTS = 5000


class Band(NamedTuple):
    """Where the order statistics of rows that follow a law lie, at some of them."""

    expected: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def order_places(n: int) -> NDArray[np.int64]:
    """Return at most 120 of the ranks 1 to n, closest together at either end."""
    half = np.geomspace(1, (n + 1) / 2, MAX_PLACES // 2).astype(np.int64)
    return np.unique(np.concatenate([half, n + 1 - half]))


def order_band(law: Any, n: int, confidence: float) -> Band:
    """Return medians and a pointwise band of the order statistics of n draws.

    The k-th smallest of n uniform draws follows Beta(k, n + 1 - k).

    Parameters
    ----------
    law : frozen distribution of SciPy
    n : int
    confidence : float
        Of each place by itself, in (0, 1).

    Examples
    --------
    >>> from scipy.stats import uniform
    >>> [values.round(3).tolist() for values in order_band(uniform(), 1, 0.9)]
    [[0.5], [0.05], [0.95]]
    """
    rank = order_places(n)
    tail = (1.0 - confidence) / 2
    found = (
        law.ppf(beta.ppf(share, rank, n + 1 - rank)) for share in (0.5, tail, 1 - tail)
    )
    return Band(*found)


def conformal_band(n: int, n_calibration: int, confidence: float) -> Band:
    """Return the same for p-values that share their calibration rows.

    Of the m calibration rows, those at least as far as the k-th farthest of n new
    ones follow a beta-binomial law with m, k and n + 1 - k: p-values are not
    independent of each other, and lie on a grid.

    Parameters
    ----------
    n, n_calibration : int
    confidence : float
        Of each place by itself, in (0, 1).

    Examples
    --------
    >>> conformal_band(1, 99, 0.9).lower, conformal_band(1, 99, 0.9).upper
    (array([0.05]), array([0.95]))
    """
    rank = order_places(n)
    tail = (1.0 - confidence) / 2
    ends = np.array([_counts(n, n_calibration, int(k), tail) for k in rank])
    lower, upper = (1 + ends.T) / (1 + n_calibration)
    return Band(beta.median(rank, n + 1 - rank), lower, upper)


def _counts(n: int, n_calibration: int, rank: int, tail: float) -> tuple[int, int]:
    """Return the counts of calibration rows between which all but two tails lie."""
    law = betabinom(n_calibration, rank, n + 1 - rank)
    reach = 12 * law.std() + 1  # beyond it there is nothing that would count
    first = max(0, int(law.mean() - reach))
    last = min(n_calibration, int(law.mean() + reach))
    counts = np.arange(first, last + 1)
    below = np.cumsum(law.pmf(counts))
    # rounding: the last sum may be less than 1
    low, high = np.searchsorted(below, [tail - 1e-12, 1 - tail - 1e-12])
    return int(counts[low]), int(counts[min(high, len(counts) - 1)])


class ReferenceLawDisplay:
    """Distances of rows, or their p-values, over the quantiles of a law: a Q-Q plot.

    Where rows follow the law, points lie along the diagonal, and each is within the
    band with a probability of `confidence`. The band is for each place by itself: some
    points of many are outside in any case. Distances above it, or p-values below, mean
    rows farther than they should be, which are outliers or those of a law with heavier
    tails; then p-values by that law promise too much.

    Parameters
    ----------
    observed : ndarray of shape (n,)
        Rising.
    expected : ndarray of shape (n,)
        Medians of the order statistics.
    band : tuple of ndarray of shape (n_places,)
        Medians, and the ends of the band at them.
    confidence : float, default=0.95
        Of the band.
    law : str, default="the reference law"
        What the law is called.
    quantity : str, default="squared distance"
        What the values are called.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : matplotlib PathCollection
    line_ : matplotlib Line2D
        The diagonal.
    band_ : matplotlib PolyCollection
    legend_ : matplotlib Legend

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import MahalanobisScorer, ReferenceLawDisplay
    >>> X = np.random.default_rng(0).normal(size=(600, 4))
    >>> scorer = MahalanobisScorer(covariance="empirical", pvalue_method="f")
    >>> display = ReferenceLawDisplay.from_estimator(scorer.fit(X[:200]), X[200:])
    >>> display.law
    'the F law of 4 columns and 200 rows'
    """

    def __init__(
        self,
        *,
        observed: NDArray[np.float64],
        expected: NDArray[np.float64],
        band: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
        confidence: float = 0.95,
        law: str = "the reference law",
        quantity: str = "squared distance",
    ) -> None:
        self.observed = observed
        self.expected = expected
        self.band = band
        self.confidence = confidence
        self.law = law
        self.quantity = quantity

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        law: Law | None = None,
        confidence: float = 0.95,
        **plot_kwargs: Any,
    ) -> "ReferenceLawDisplay":
        """Draw rows that a fitted scorer did not see against the law that it uses.

        Parameters
        ----------
        estimator : scorer, Pipeline or search, fitted
            With `pvalue`, or for "chi2" and "f" with `mahalanobis`.
        X : array-like of shape (n, n_features)
            Normal rows that are no training rows.
        law : {"chi2", "f", "uniform"}, default=None
            "chi2" and "f" take squared distances, for Gaussian rows: the first of a
            mean and a covariance that are known, the second of the maximum-likelihood
            estimates. "uniform" takes p-values. None is what `pvalue` of the scorer
            goes by, "chi2" where it has none.
        confidence : float, default=0.95
            Of the band at each place, in (0, 1).
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ReferenceLawDisplay

        Raises
        ------
        TypeError
            If the scorer has not the method.
        ValueError
            If a parameter is out of range, or the F law is asked for and the scorer
            does not know of more rows than columns.
        """
        head, scorer = scorer_of(estimator)
        if law is None:
            law = _law_of(scorer)
        check_choice("law", law, LAWS)
        rows = rows_of_scorer(head, X)
        if law == "uniform":
            pvalues = answers_of(scorer, "pvalue", rows)
            conformal = isinstance(scorer, DistanceScorer) and (
                getattr(scorer, "pvalue_method", "conformal") == "conformal"
            )
            return cls.from_pvalues(
                pvalues,
                n_calibration=len(scorer._calibration()) if conformal else None,
                confidence=confidence,
                **plot_kwargs,
            )
        return cls.from_distances(
            answers_of(scorer, "mahalanobis", rows),
            law=law,
            n_features=int(np.prod(np.shape(rows)[1:])),
            n_samples=getattr(scorer, "n_samples_seen_", None),
            confidence=confidence,
            **plot_kwargs,
        )

    @classmethod
    def from_distances(
        cls,
        distances: Any,
        *,
        n_features: int,
        law: Literal["chi2", "f"] = "chi2",
        n_samples: int | None = None,
        confidence: float = 0.95,
        **plot_kwargs: Any,
    ) -> "ReferenceLawDisplay":
        """Draw squared Mahalanobis distances against their law for Gaussian rows.

        Parameters
        ----------
        distances : array-like of shape (n,)
            Squared, of rows that mean and covariance were not taken from.
        n_features : int
            Number of columns of the rows.
        law : {"chi2", "f"}, default="chi2"
            "chi2" for a mean and a covariance that are known, "f" for the
            maximum-likelihood estimates of `n_samples` rows.
        n_samples : int, default=None
            Number of rows behind mean and covariance, > n_features; for "f".
        confidence : float, default=0.95
            Of the band at each place, in (0, 1).
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ReferenceLawDisplay

        Raises
        ------
        ValueError
            If a parameter is out of range, or `distances` are empty or hold NaN.
        """
        check_choice("law", law, LAWS[:2])
        n_features = check_int("n_features", n_features)
        if law == "chi2":
            reference = chi2(n_features)
            name = f"the chi-squared law of {n_features} columns"
        else:
            hint = "The F law needs more rows than columns."
            n_samples = check_int("n_samples", n_samples, n_features + 1, hint=hint)
            reference = scaled_f(n_samples, n_features)
            name = f"the F law of {n_features} columns and {n_samples} rows"
        values = numbers_of("distances", distances)
        confidence = _check_confidence(confidence)
        return cls(
            observed=np.sort(values),
            expected=_medians(reference, len(values)),
            band=order_band(reference, len(values), confidence),
            confidence=confidence,
            law=name,
        ).plot(**plot_kwargs)

    @classmethod
    def from_pvalues(
        cls,
        pvalues: Any,
        *,
        n_calibration: int | None = None,
        confidence: float = 0.95,
        **plot_kwargs: Any,
    ) -> "ReferenceLawDisplay":
        """Draw p-values against the uniform law.

        Parameters
        ----------
        pvalues : array-like of shape (n,)
            In [0, 1], of normal rows.
        n_calibration : int, default=None
            Number of calibration rows behind conformal p-values, whose band is that of
            p-values which share them; None takes them to be independent.
        confidence : float, default=0.95
            Of the band at each place, in (0, 1).
        **plot_kwargs
            Handed to `plot`.

        Returns
        -------
        display : ReferenceLawDisplay

        Raises
        ------
        ValueError
            If a parameter is out of range, or `pvalues` are empty, hold NaN or values
            outside [0, 1].
        """
        values = numbers_of("pvalues", pvalues)
        if values.min() < 0 or values.max() > 1:
            raise ValueError(
                "pvalues must be in [0, 1], got values from "
                f"{values.min():.3g} to {values.max():.3g}."
            )
        confidence = _check_confidence(confidence)
        if n_calibration is None:
            band = order_band(uniform(), len(values), confidence)
        else:
            n_calibration = check_int("n_calibration", n_calibration)
            band = conformal_band(len(values), n_calibration, confidence)
        return cls(
            observed=np.sort(values),
            expected=_medians(uniform(), len(values)),
            band=band,
            confidence=confidence,
            law="the uniform law",
            quantity="p-value",
        ).plot(**plot_kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        log: bool | None = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        band_kwargs: dict[str, Any] | None = None,
    ) -> "ReferenceLawDisplay":
        """Draw the points, the diagonal and the band.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        log : bool, default=None
            Logarithmic axes, on which p-values are seen where they are small; None
            where all values are positive and the observed span a factor of 30.
        scatter_kwargs : dict, default=None
            Handed to `Axes.scatter`.
        line_kwargs : dict, default=None
            Handed to `Axes.plot`, for the diagonal.
        band_kwargs : dict, default=None
            Handed to `Axes.fill_between`.

        Returns
        -------
        self : ReferenceLawDisplay
        """
        observed, expected = np.asarray(self.observed), np.asarray(self.expected)
        middle, lower, upper = (np.asarray(part) for part in self.band)
        caller = "ReferenceLawDisplay.plot"
        self.figure_, self.ax_ = figure_and_axes(ax, (5.2, 4.4), caller)
        if log is None:
            log = bool(spans_decades(observed))
        style: dict[str, Any] = {"color": FAINT, "linewidth": 0, "zorder": 0}
        style["label"] = f"{100 * self.confidence:g} % at each place"
        kwargs = merged(style, band_kwargs)
        self.band_ = self.ax_.fill_between(middle, lower, upper, **kwargs)
        ends = np.array([expected[0], expected[-1]])
        style = {"color": MUTED, "linewidth": 1.0, "zorder": 1}
        (self.line_,) = self.ax_.plot(ends, ends, **merged(style, line_kwargs))
        style = {"color": PALETTE[0], "s": 10, "linewidths": 0, "alpha": 0.8}
        style["label"] = f"{len(observed)} rows"
        style["rasterized"] = len(observed) > RASTER_POINTS
        kwargs = merged({**style, "zorder": 2}, scatter_kwargs)
        self.points_ = self.ax_.scatter(expected, observed, **kwargs)
        if log:
            self.ax_.set(xscale="log", yscale="log")
        self._name_axes()
        return self

    def _name_axes(self) -> None:
        quiet(self.ax_)
        self.ax_.set_xlabel(f"{self.quantity} by {self.law}")
        self.ax_.set_ylabel(f"observed {self.quantity}")
        self.legend_ = self.ax_.legend(
            loc="upper left", frameon=False, labelcolor=INK, handletextpad=0.4
        )


def _law_of(scorer: Any) -> Law:
    """Return the law that p-values of a scorer go by."""
    if not callable(getattr(scorer, "pvalue", None)):
        return "chi2"
    known: dict[str, Law] = {"chi2": "chi2", "f": "f"}
    return known.get(getattr(scorer, "pvalue_method", "conformal"), "uniform")


def _medians(law: Any, n: int) -> NDArray[np.float64]:
    """Return the medians of all order statistics of n draws from a law."""
    rank = np.arange(1, n + 1)
    found: NDArray[np.float64] = law.ppf(beta.median(rank, n + 1 - rank))
    return found


def _check_confidence(confidence: Any) -> float:
    return check_real("confidence", confidence, 0.0, 1.0, closed="neither")
