"""What outlier detectors share that measure how far a row is from the training data."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import flatten_images
from .._validation import check_real
from ._pvalues import conformal_pvalues, conformal_threshold, n_calibration_needed

MAX_KEPT = 10_000
"""The most rows that an offset, or p-values, are taken from."""

_CONTAMINATION = 0.1


class DistanceScorer(OutlierMixin, BaseEstimator):
    """Everything that follows from distances and an offset."""

    offset_: float

    def _distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        raise NotImplementedError

    def _held_out_distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return distances under a law that the calibration rows are not part of."""
        raise NotImplementedError

    def _calibration(self) -> NDArray[np.float64]:
        """Return the held-out distances of the calibration rows."""
        raise NotImplementedError

    def _rows(self, X: Any, *, reset: bool = False, n_min: int = 1) -> NDArray[Any]:
        if not reset:
            check_is_fitted(self)
        rows: NDArray[Any] = validate_data(
            self,
            flatten_images(X)[0],
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_min_samples=n_min,
        )
        return rows

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return minus the distance of each row; high is normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Dimensionless.
        """
        return -self._distances(self._rows(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return ``score_samples(X) - offset_``; outliers are below 0.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,), float64
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for outliers and +1 for the rest.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.int64]:
        """Return the labels of the rows of `X` after a fit to them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Labels, for a scorer that uses them.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64
            -1 for outliers and +1 for the rest.
        """
        return self.fit(X, y).predict(X)

    def pvalue(self, X: Any) -> NDArray[np.float64]:
        """Return how probable it is that a normal row is at least as far as each of X.

        For rows that are not training rows. Flagging rows with a p-value of at most u
        flags a share u of normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        pvalues : ndarray of shape (n_samples,), float64
            At least ``1 / (1 + n_calibration)``.

        Raises
        ------
        ValueError
            If `fit` had too few rows to hold one out for calibration.
        """
        rows = self._rows(X)
        calibration = self._calibration()
        if not len(calibration):
            raise ValueError(
                "pvalue needs at least one calibration row, but calibration_fraction="
                f"{self.calibration_fraction!r} of the training rows was none. Fit on "
                "more rows, or with a larger calibration_fraction."
            )
        return conformal_pvalues(self._held_out_distances(rows), calibration)

    def _check_threshold(self) -> None:
        rate = self.false_alarm_rate
        if self.contamination is not None:
            check_real("contamination", self.contamination, 0.0, 0.5, closed="right")
            if rate is not None:
                raise ValueError(
                    "contamination must be None where false_alarm_rate is given, got "
                    f"contamination={self.contamination!r} and false_alarm_rate="
                    f"{rate!r}. One of them sets the threshold; set the other to None."
                )
        if rate is not None:
            check_real("false_alarm_rate", rate, 0.0, 0.5, closed="right")
        fraction = self.calibration_fraction
        check_real("calibration_fraction", fraction, 0.0, 1.0, closed="left")

    def _n_calibration(self, n_samples: int) -> int:
        return min(math.floor(self.calibration_fraction * n_samples + 1e-9), MAX_KEPT)

    def _share_offset(self, distances: NDArray[np.float64]) -> float:
        """Return the offset beyond which a share `contamination` of distances lies."""
        given = self.contamination
        share = _CONTAMINATION if given is None else given
        return float(np.percentile(-distances, 100 * share))

    def _rate_offset(self) -> float:
        """Return the offset at which conformal p-values are `false_alarm_rate`."""
        rate, calibration = self.false_alarm_rate, self._calibration()
        needed = n_calibration_needed(rate)
        if len(calibration) < needed:
            fraction = self.calibration_fraction
            fix = "a calibration_fraction above 0"
            if fraction > 0:
                n_rows = math.ceil(needed / fraction - 1e-9)
                fix = f"{n_rows} rows, or a larger calibration_fraction or rate"
            raise ValueError(
                f"false_alarm_rate={rate!r} needs {needed} calibration rows at least, "
                f"got {len(calibration)}, with calibration_fraction={fraction!r}. Fit "
                f"with {fix}."
            )
        return -conformal_threshold(calibration, rate)
