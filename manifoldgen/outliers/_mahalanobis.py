"""Outliers by the Mahalanobis distance from all training rows."""

import math
import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from scipy.stats import f as f_distribution

from .._random import draw_seed, random_state_of
from .._validation import check_choice
from ..base import unchanged_on_error
from ..covariance import (
    Moments,
    moments,
    oas_shrinkage,
    shrink,
    squared_distances,
    whitening_matrix,
)
from ._base import MAX_KEPT, DistanceScorer


def row_keys(seed: int, start: int, n_rows: int) -> NDArray[np.float64]:
    """Return random numbers of the rows `start` and on in a stream of rows.

    They depend on `seed` and on a row's place in the stream, not on the batches.
    """
    stream = np.random.PCG64(seed).advance(start)
    return np.random.Generator(stream).random(n_rows)


def smallest(
    keys: NDArray[np.float64], rows: NDArray[Any], n_kept: int
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the `n_kept` smallest keys, sorted, and their rows.

    The rows of the smallest keys in a stream are a uniform sample of it, and so are the
    first of these.
    """
    if len(keys) > n_kept:
        kept = keys <= np.partition(keys, n_kept - 1)[n_kept - 1]
        keys, rows = keys[kept], rows[kept]
    order = np.argsort(keys, kind="stable")[:n_kept]
    return keys[order], rows[order]


class MahalanobisScorer(DistanceScorer):
    r"""Score rows by their squared Mahalanobis distance from the training data.

    .. math:: D^2(x) = (x - \mu)^T (\Sigma + R)^{-1} (x - \mu)

    with the mean, a covariance that may be shrunk, and a diagonal ridge R that follows
    the variances of the columns. Data that span less than their space are no special
    case: a row off the span is far, and the farther off the farther. Moments stream
    exactly by `partial_fit`. For data of several clusters, or on a curved surface,
    score the latents and residuals of a manifold instead: `ManifoldScorer`.

    Parameters
    ----------
    covariance : {"oas", "empirical"}, default="oas"
        "oas" is shrunk to a sphere by Oracle Approximating Shrinkage, for columns of
        one unit; "empirical" is the maximum-likelihood covariance, under which
        distances do not depend on the units of the columns.
    ridge : float, default=1e-6
        What is added to the variance of each column, as a share of that variance and
        at least of `ridge` times the mean variance; in [0, 1].
    contamination : float, default=0.1
        Share of training rows that `predict` calls outliers, in (0, 0.5].
    calibration_fraction : float, default=0.2
        Share of training rows that conformal p-values are calibrated on, in [0, 1); at
        most 10,000 rows. They are left out of a second set of moments, which serves
        `pvalue` alone; everything else rests on all rows.
    pvalue_method : {"conformal", "f"}, default="conformal"
        "conformal" holds for rows of any distribution, of which training rows and new
        rows are independent draws; its smallest value is ``1 / (1 + n_calibration)``.
        "f" is the exact law of new rows for Gaussian data, with p-values of any
        smallness; for ``covariance="empirical"`` of full rank, with more rows than
        columns.
    random_state : int, RandomState or None, default=None
        Chooses the calibration rows, and the rows behind `offset_` where there are
        more than 10,000.

    Attributes
    ----------
    location_ : ndarray of shape (n_features,), float64
        Mean of all rows.
    covariance_ : ndarray of shape (n_features, n_features), float64
        Covariance of all rows, shrunk, without the ridge.
    shrinkage_ : float
        Weight of the sphere in it; 0 for ``covariance="empirical"``.
    whitening_ : ndarray of shape (n_features, n_features), float64
        W such that ``||(x - location_) W||²`` is the squared distance.
    offset_ : float
        The percentile ``100 * contamination`` of the scores of at most 10,000 training
        rows. New rows fall below it more often where rows are few to a column; rates
        for new rows are what `pvalue` is for.
    n_samples_seen_ : int
        Number of rows in the moments.
    n_features_in_ : int
        Number of columns in `fit`.

    Raises
    ------
    ValueError
        If a parameter is out of range, X has fewer than 2 rows (in `fit`), or
        ``pvalue_method="f"`` goes with another covariance than "empirical".

    References
    ----------
    .. [1] Y. Chen, A. Wiesel, Y. Eldar, A. Hero, "Shrinkage algorithms for MMSE
           covariance estimation", IEEE Trans. Signal Processing 58(10), 2010,
           arXiv:0907.4698, Eq. (23).
    .. [2] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world",
           Springer, 2005, Sect. 4.1 (split conformal).
    .. [3] T. W. Anderson, "An introduction to multivariate statistical analysis", 3rd
           ed., Wiley, 2003, Theorem 5.2.2 (the F law).

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import MahalanobisScorer
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> scorer = MahalanobisScorer(random_state=0).fit(X)
    >>> scorer.predict([[0.1, -0.2, 0.0], [4.0, 4.0, 4.0]])
    array([ 1, -1])
    >>> scorer.pvalue([[4.0, 4.0, 4.0]]).round(3)
    array([0.005])
    """

    _training_data = ("_reservoir",)

    def __init__(
        self,
        *,
        covariance: Literal["oas", "empirical"] = "oas",
        ridge: float = 1e-6,
        contamination: float = 0.1,
        calibration_fraction: float = 0.2,
        pvalue_method: Literal["conformal", "f"] = "conformal",
        random_state: Any = None,
    ) -> None:
        self.covariance = covariance
        self.ridge = ridge
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.pvalue_method = pvalue_method
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn mean and covariance of the rows of `X`, and the offset.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least 2 rows.
        y : None
            Ignored.

        Returns
        -------
        self : MahalanobisScorer
        """
        with unchanged_on_error(self):
            self._check_parameters()
            rows = self._rows(X, reset=True, n_min=2)
            self._seed = draw_seed(random_state_of(self.random_state))
            keys, kept = smallest(row_keys(self._seed, 0, len(rows)), rows, MAX_KEPT)
            self._reservoir = (len(rows), keys, kept)
            self._learn(moments(rows), kept, self._n_calibration(len(rows)))
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Add the rows of `X` to those seen so far.

        The result is that of `fit` on all of them, whatever the batches, to rounding.
        For that at most 10,000 rows are kept. A scorer that was saved without them
        goes on with exact moments; its offset and calibration then rest on the new
        rows, with a warning.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One row is enough.
        y : None
            Ignored.

        Returns
        -------
        self : MahalanobisScorer
        """
        if not hasattr(self, "n_samples_seen_"):
            with unchanged_on_error(self):
                self._seed = draw_seed(random_state_of(self.random_state))
                return self._add(self._rows(X, reset=True), None)
        rows = self._rows(X)
        seen = Moments(self.n_samples_seen_, self.location_, self._scatter)
        with unchanged_on_error(self):
            if not hasattr(self, "_reservoir"):
                warnings.warn(
                    "The training rows were not stored with this scorer, so offset_ "
                    "and the calibration of pvalue now rest on the rows given to "
                    "partial_fit from here on; the moments still hold all rows.",
                    UserWarning,
                    stacklevel=2,
                )
            return self._add(rows, seen)

    def _add(self, rows: NDArray[Any], seen: Moments | None) -> Self:
        self._check_parameters()
        total = moments(rows)
        keys = row_keys(self._seed, 0 if seen is None else seen.n_samples, len(rows))
        n_offered, old_keys, old_rows = getattr(
            self, "_reservoir", (0, keys[:0], rows[:0])
        )
        n_offered += len(rows)
        # Rows that cannot be among the kept ones are left out before they are copied.
        fresh = keys < old_keys[-1] if len(old_keys) == MAX_KEPT else slice(None)
        keys, kept = smallest(
            np.concatenate([old_keys, keys[fresh]]),
            np.concatenate([old_rows, rows[fresh]]),
            MAX_KEPT,
        )
        self._reservoir = (n_offered, keys, kept)
        merged = total if seen is None else seen.merge(total)
        return self._learn(merged, kept, self._n_calibration(n_offered))

    def _learn(self, total: Moments, rows: NDArray[Any], n_calibration: int) -> Self:
        """Learn from all moments, and from `rows` of which the first calibrate."""
        self.n_samples_seen_, self.location_ = total.n_samples, total.mean
        self._scatter = total.scatter
        self.covariance_, self.shrinkage_ = self._estimate(total)
        self.whitening_, self._log_determinant = whitening_matrix(
            self.covariance_, self.ridge
        )
        scores = -self._distances(rows)
        self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        self._calibration_distances = np.empty(0)
        if n_calibration and self.pvalue_method == "conformal":
            held_out = total.without(moments(rows[:n_calibration]))
            self._held_out_location = held_out.mean
            self._held_out_whitening, _ = whitening_matrix(
                self._estimate(held_out)[0], self.ridge
            )
            self._calibration_distances = self._held_out_distances(rows[:n_calibration])
        return self

    def _estimate(self, total: Moments) -> tuple[NDArray[np.float64], float]:
        if self.covariance == "empirical":
            return total.covariance, 0.0
        shrinkage = oas_shrinkage(total.covariance, total.n_samples)
        return shrink(total.covariance, shrinkage), shrinkage

    def mahalanobis(self, X: Any) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        distances : ndarray of shape (n_samples,), float64
            Dimensionless.
        """
        return self._distances(self._rows(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of the rows under the Gaussian that was learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        score : float
            Nats a row.
        """
        distance = float(np.mean(self.mahalanobis(X)))
        constant = self.n_features_in_ * math.log(2 * math.pi)
        return -0.5 * (distance + self._log_determinant + constant)

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
            In (0, 1]; conformal ones at least ``1 / (1 + n_calibration)``.

        Raises
        ------
        ValueError
            If training rows were too few to calibrate on, or the F law does not hold:
            no more rows than columns, or columns that depend on each other.
        """
        if self.pvalue_method != "f":
            return super().pvalue(X)
        rows = self._rows(X)
        self._check_f_law()
        n, d = self.n_samples_seen_, self.n_features_in_
        unbiased = self._distances(rows) * ((n - 1) / n)
        ratio = unbiased * (n * (n - d) / (d * (n * n - 1)))
        return f_distribution.sf(ratio, d, n - d)

    def _check_f_law(self) -> None:
        n, d = self.n_samples_seen_, self.n_features_in_
        if n <= d:
            raise ValueError(
                f"pvalue_method='f' needs more rows than columns, got {n} rows of {d} "
                "columns. Use pvalue_method='conformal'."
            )
        std = np.sqrt(self.covariance_.diagonal())
        least = 0.0
        if std.all():
            least = float(eigvalsh(self.covariance_ / np.outer(std, std))[0])
        # Below this the ridge would change distances by more than 1%.
        if least < max(100 * self.ridge, 1e-10):
            raise ValueError(
                "pvalue_method='f' needs a covariance of full rank, got a correlation "
                f"matrix whose smallest eigenvalue is {least:.2g}, below 100 * ridge. "
                "Use pvalue_method='conformal', or a smaller ridge on float64 rows."
            )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        method = check_choice("pvalue_method", self.pvalue_method, ("conformal", "f"))
        if method == "f" and self.covariance != "empirical":
            raise ValueError(
                "pvalue_method='f' holds for covariance='empirical', got covariance="
                f"{self.covariance!r}. Use pvalue_method='conformal' with it."
            )

    def _distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return squared_distances(rows, self.location_, self.whitening_)

    def _held_out_distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return squared_distances(
            rows, self._held_out_location, self._held_out_whitening
        )

    def _calibration(self) -> NDArray[np.float64]:
        return self._calibration_distances
