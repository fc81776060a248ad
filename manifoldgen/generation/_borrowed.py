"""Draw rows of classes of few rows, whose spread is borrowed from the others."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_N_TERMS = 16
_BLOCK_VALUES = 2**20


class BorrowedKernels:
    r"""A smoothed bootstrap of each class, its kernels shaped by the rows of all.

    A new row of class c starts from one of its n rows, drawn at random, and keeps the
    mean and, where the covariance is right, the covariance of the class:

    .. math:: x = \mu_c + \sqrt{1 - s} \, (x_i - \mu_c) + \sqrt{s} \, e, \quad
              e \sim (0, w \Sigma_c + (1 - w) \Sigma), \quad w = \frac{n}{n + d}

    A covariance of d columns takes about d rows to know, so a class of few rows gets
    the covariance of deviations from the mean of the own class, pooled over all
    classes, and one of many rows its own. No matrix is formed: e is a sum of
    deviations of random rows with normal weights.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,), int64
        Class of each row, 0 to n_classes - 1, each there.
    smoothing : float
        Share s of the variance that is drawn anew, in [0, 1]. 0 repeats rows; 1 draws
        from one Gaussian, nearly.

    References
    ----------
    .. [1] B. Silverman, G. Young, "The bootstrap: to smooth or not to smooth?",
           Biometrika 74(3), 1987, Section 2: kernels that keep the variance.
    .. [2] J. Friedman, "Regularized discriminant analysis", JASA 84(405), 1989,
           Eq. (7): the covariance between that of a class and the pooled one. We
           differ in a weight that follows from the counts.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0.0, 0.0], [0.0, 1.0], [5.0, 0.0], [5.0, 1.0]])
    >>> kernels = BorrowedKernels(rows, np.array([0, 0, 1, 1]), smoothing=0.0)
    >>> kernels.draw(np.array([1, 1, 1]), np.random.RandomState(0))[:, 0]
    array([5., 5., 5.])
    """

    def __init__(
        self, rows: NDArray[Any], codes: NDArray[np.int64], smoothing: float
    ) -> None:
        self.rows = rows if rows.dtype.kind == "f" else rows.astype(np.float32)
        self.codes = codes
        self.smoothing = smoothing
        self.counts = np.bincount(codes)
        self.means = np.array(
            [self.rows[codes == c].mean(axis=0) for c in range(len(self.counts))]
        )
        self.order = np.argsort(codes, kind="stable")
        self.starts = np.cumsum(self.counts) - self.counts
        self.limits = self.rows.min(axis=0), self.rows.max(axis=0)

    def draw(
        self, codes: NDArray[np.int64], rng: np.random.RandomState
    ) -> NDArray[Any]:
        """Return a new row for each of `codes`, within the range of each column.

        Parameters
        ----------
        codes : ndarray of shape (n_samples,), int64
        rng : RandomState

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features), float32 or float64
        """
        new = np.empty((len(codes), self.rows.shape[1]), self.rows.dtype)
        step = max(1, _BLOCK_VALUES // new.shape[1])
        for start in range(0, len(codes), step):
            part = codes[start : start + step]
            kept = self._deviations(self._own(part, rng))
            kept *= math.sqrt(1.0 - self.smoothing)
            kept += math.sqrt(self.smoothing) * self._noise(part, rng)
            kept += self.means[part]
            new[start : start + step] = kept.clip(*self.limits)
        return new

    def _own(
        self, codes: NDArray[np.int64], rng: np.random.RandomState
    ) -> NDArray[np.int64]:
        """Return a random row of the class of each of `codes`, by its position."""
        within = (rng.random_sample(len(codes)) * self.counts[codes]).astype(np.int64)
        return self.order[self.starts[codes] + within]

    def _deviations(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        return self.rows[positions] - self.means[self.codes[positions]]

    def _noise(
        self, codes: NDArray[np.int64], rng: np.random.RandomState
    ) -> NDArray[Any]:
        n_rows, n_features = self.rows.shape
        n_own, n_classes = self.counts[codes], len(self.counts)
        weight = n_own / (n_own + n_features)
        # means of the rows themselves take a part of the spread, which is given back
        own_scale = n_own / np.maximum(n_own - 1, 1)
        all_scale = n_rows / max(n_rows - n_classes, 1)
        noise = np.zeros((len(codes), n_features), self.rows.dtype)
        for _ in range(_N_TERMS):
            is_own = rng.random_sample(len(codes)) < weight
            chosen = np.where(
                is_own, self._own(codes, rng), rng.randint(n_rows, size=len(codes))
            )
            scale = np.sqrt(np.where(is_own, own_scale, all_scale) / _N_TERMS)
            scale *= rng.standard_normal(len(codes))
            noise += scale.astype(noise.dtype)[:, None] * self._deviations(chosen)
        return noise
