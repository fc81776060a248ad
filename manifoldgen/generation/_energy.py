"""The score of generators that draw: how near samples are to rows."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from ..metrics import energy_distance


class EnergyScoreMixin:
    """`score` for a class that knows the spread of its columns, `scale_`."""

    scale_: NDArray[np.float64]

    if TYPE_CHECKING:

        def _validate_rows(
            self, X: Any, *, reset: bool, n_min: int = 1
        ) -> NDArray[Any]: ...

        def _sample(
            self, n_samples: int, y: Any, rng: np.random.RandomState
        ) -> NDArray[np.float32]: ...

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the energy distance between `X` and as many samples.

        Columns are scaled by their standard deviation in training; the samples come
        from a fixed seed and are drawn as those of `sample` are. Higher is better, and
        about 0 is perfect.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Labels of the samples where the generator was fitted with labels; None
            draws them by frequency.

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        labels = None
        if hasattr(self, "classes_") and y is not None:
            labels = column_or_1d(y, warn=True)
            check_consistent_length(rows, labels)
        drawn = self._sample(len(rows), labels, np.random.RandomState(0))
        spread = np.where(self.scale_ == 0, 1.0, self.scale_)
        return -float(energy_distance(rows / spread, drawn / spread))
