"""A detector of outliers from the score of any estimator."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_consistent_length

from .._random import random_state_of
from ..base import seeded_clone, unchanged_on_error
from ._base import MAX_KEPT, DistanceScorer
from ._scores import scores_of, scoring_method

_HUGE = float(np.finfo(np.float64).max) / 4  # differences are finite too


class ScoreOutlierDetector(DistanceScorer):
    """Make a detector of outliers, with p-values, of any score.

    Any estimator whose answer tells normal rows from others gets the surface of a
    scorer: a threshold for a share of the training rows or for a rate of false alarms,
    `predict`, and p-values that hold for rows of any distribution. Networks and
    neighbours know the rows that they were fitted on, whose scores are too good: so
    the estimator is fitted on the rows that do not calibrate.

    A row's score depends on the rows that come with it as little as the estimator's
    own answer does.

    Parameters
    ----------
    estimator : estimator, default=None
        Is cloned and fitted in `fit`, with `y` where that is given; where a
        `random_state` of it or of its parts is None, that is drawn from ours. One that
        is fitted already goes in as ``sklearn.frozen.FrozenEstimator(estimator)``.
        None is one Gaussian on standardised columns, a baseline that never fails.
    score_method : {"auto"}, str or callable, default="auto"
        The name of a method whose result is high for normal rows, of which that of
        `predict_proba`, `predict_log_proba` and `decision_function` counts by its
        largest column (as the maximum softmax probability does), or
        "reconstruction_error", which is turned round, and is the mean squared
        difference from ``inverse_transform(transform(X))`` where there is no such
        method. A callable takes the fitted estimator and rows and returns a number
        for each, high for normal ones. "auto" takes the first that is there of
        `score_samples`, `reconstruction_error`, `predict_proba`, `decision_function`
        and the way there and back.
    contamination : float or None, default=None
        Share of training rows that `predict` calls outliers, in (0, 0.5]; None is 0.1
        unless `false_alarm_rate` is given.
    false_alarm_rate : float or None, default=None
        Share of new normal rows that `predict` calls outliers, in (0, 0.5], in place
        of `contamination`: `predict` is then -1 where `pvalue` is at most this.
    calibration_fraction : float, default=0.2
        Share of the rows that p-values are calibrated on, in [0, 1), at most 10,000;
        the estimator is fitted on the others.
    random_state : int, RandomState or None, default=None
        Chooses the calibration rows, and seeds the estimator.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    score_method_ : str
        The method that scores come from, or "callable".
    offset_ : float
        The score below which `predict` is -1, from at most 10,000 rows.
    n_features_in_ : int
        Number of columns in `fit`.

    Raises
    ------
    TypeError
        If the estimator has no such method.
    ValueError
        If a parameter is out of range, X has fewer than 2 rows, a score is NaN for
        a training row, or calibration rows are too few for `false_alarm_rate`.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world",
           Springer, 2005, Sect. 4.1 (split conformal).
    .. [2] D. Hendrycks, K. Gimpel, "A baseline for detecting misclassified and
           out-of-distribution examples in neural networks", ICLR 2017,
           arXiv:1610.02136 (maximum softmax probability).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import LocalOutlierFactor
    >>> from manifoldgen import ScoreOutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> detector = ScoreOutlierDetector(
    ...     LocalOutlierFactor(novelty=True), false_alarm_rate=0.05, random_state=0
    ... ).fit(X)
    >>> detector.predict([[0.0, 0.0], [6.0, 6.0]])
    array([ 1, -1])
    >>> detector.pvalue([[6.0, 6.0]]).round(4)
    array([0.0099])
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        score_method: str | Callable[[Any, NDArray[Any]], Any] = "auto",
        contamination: float | None = None,
        false_alarm_rate: float | None = None,
        calibration_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.score_method = score_method
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the estimator on some rows and calibrate its score on the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least 2 rows. Images are handed to the estimator as rows.
        y : array-like of shape (n_samples,), default=None
            Handed to the estimator.

        Returns
        -------
        self : ScoreOutlierDetector
        """
        with unchanged_on_error(self):
            self._check_threshold()
            self._check_score()
            rows = self._rows(X, reset=True, n_min=2)
            labels = None if y is None else np.asarray(y)
            check_consistent_length(rows, labels)
            rng = random_state_of(self.random_state)
            estimator = seeded_clone(self._estimator(), rng)
            order = rng.permutation(len(rows))
            n_calibration = self._n_calibration(len(rows))
            learned = np.sort(order[n_calibration:])
            some = None if labels is None else labels[learned]
            self.estimator_ = estimator.fit(rows[learned], some)
            self.score_method_ = scoring_method(self.estimator_, self.score_method)
            distances = self._training_distances(rows[order[:MAX_KEPT]])
            self._calibration_distances = distances[:n_calibration]
            if self.false_alarm_rate is not None:
                self.offset_ = self._rate_offset()
            else:
                self.offset_ = self._share_offset(distances)
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the score of each row; high is normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            In the units of the estimator's own; about -4.5e307 where that is NaN.
        """
        return super().score_samples(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean score of the rows.

        It compares data under one detector, not detectors.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        score : float
            In the units of the estimator's own: nats a row of a log-density.
        """
        return float(np.mean(self.score_samples(X)))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if isinstance(self.estimator, BaseEstimator):
            needed = get_tags(self.estimator).target_tags.required
            tags.target_tags.required = needed
        return tags

    def _estimator(self) -> Any:
        if self.estimator is None:
            return make_pipeline(StandardScaler(), _one_gaussian())
        if isinstance(self.estimator, type) or not hasattr(self.estimator, "fit"):
            raise TypeError(
                "estimator must be an estimator, an instance with fit, got "
                f"{self.estimator!r}."
            )
        return self.estimator

    def _check_score(self) -> None:
        if not (isinstance(self.score_method, str) or callable(self.score_method)):
            raise TypeError(
                "score_method must be 'auto', the name of a method or a function of "
                f"(estimator, X), got {self.score_method!r}."
            )

    def _scores(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        by = self.score_method if callable(self.score_method) else self.score_method_
        return scores_of(self.estimator_, rows, by)

    def _training_distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        scores = self._scores(rows)
        n_missing = int(np.isnan(scores).sum())
        if n_missing:
            raise ValueError(
                f"scores must be numbers, got NaN from {self.score_method_} for "
                f"{n_missing} of {len(rows)} training rows. Scale X first, or pass "
                "another score_method."
            )
        return _far_where_missing(-scores)

    def _distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return _far_where_missing(-self._scores(rows))

    def _held_out_distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return self._distances(rows)

    def _calibration(self) -> NDArray[np.float64]:
        return self._calibration_distances


def _one_gaussian() -> GaussianMixture:
    # k-means, its default start, has no part in one component, nor in the array API
    return GaussianMixture(init_params="random_from_data")


def _far_where_missing(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace NaN and infinities, whose differences would be NaN, by large numbers."""
    return np.nan_to_num(distances, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE)
