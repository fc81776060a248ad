"""What outlier detectors share that measure a distance from the training data."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import flatten_images
from .._validation import check_choice, check_real

MAX_KEPT = 10_000
"""The most rows that an offset, or p-values, are taken from."""


def conformal_pvalues(
    distances: NDArray[np.float64], calibration: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``(1 + #{calibration >= distance}) / (1 + n)`` of each distance.

    Where a row and the n calibration rows are exchangeable, and the distance was fitted
    to neither, a p-value of at most u has probability at most u.

    Examples
    --------
    >>> import numpy as np
    >>> conformal_pvalues(np.array([0.5, 3.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    array([1.  , 0.5 , 0.25])
    """
    below = np.searchsorted(np.sort(calibration), distances, side="left")
    pvalues: NDArray[np.float64] = (1 + len(calibration) - below) / (
        1 + len(calibration)
    )
    return pvalues


class DistanceScorer(OutlierMixin, BaseEstimator):
    """Everything that follows from squared distances and an offset."""

    offset_: float

    def _distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        raise NotImplementedError

    def _held_out_distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return distances under moments that the calibration rows are not part of."""
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
        """Return minus the squared distance of each row; high is normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            At most 0, dimensionless.
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

    def _check_parameters(self) -> None:
        check_choice("covariance", self.covariance, ("oas", "empirical"))
        check_real("ridge", self.ridge, 0.0, 1.0)
        check_real("contamination", self.contamination, 0.0, 0.5, closed="right")
        fraction = self.calibration_fraction
        check_real("calibration_fraction", fraction, 0.0, 1.0, closed="left")

    def _n_calibration(self, n_samples: int) -> int:
        return min(math.floor(self.calibration_fraction * n_samples + 1e-9), MAX_KEPT)
