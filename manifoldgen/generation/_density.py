"""Log-densities in the units of the data, from those of standardised columns."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted


class LogDensityMixin:
    """`score_samples` and `score` for a class that knows its density.

    `_log_density` gets float64 rows of the columns that vary in training, standardised.
    """

    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    if TYPE_CHECKING:

        def _validate_rows(
            self, X: Any, *, reset: bool, n_min: int = 1
        ) -> NDArray[Any]: ...

    def _log_density(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        raise NotImplementedError

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,), float64
            In nats, of the density in the units of X. Columns that were constant in
            training have no density and are left out; a row that differs there loses
            half the square of its difference, in steps of float32 at the constant.
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        difference = rows.astype(np.float64) - self.mean_
        varies = self.scale_ > 0
        units = difference[:, varies] / self.scale_[varies]
        step = np.finfo(np.float32).eps * np.maximum(np.abs(self.mean_), 1.0)
        off = (difference[:, ~varies] / step[~varies]).clip(-1e100, 1e100)
        nats = -0.5 * np.square(off).sum(axis=1)
        if varies.any():
            nats += self._log_density(np.ascontiguousarray(units))
        return nats - np.log(self.scale_[varies]).sum()

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of the rows of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        score : float
            In nats a row.
        """
        return float(self.score_samples(X).mean())
