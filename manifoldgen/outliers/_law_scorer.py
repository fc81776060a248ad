"""Everything that a scorer answers once the law of normal rows is known."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.spatial.distance import cdist

from .._validation import check_choice
from ..covariance import ClassMoments, Factor
from ..covariance._full_factor import correlation_values
from ._base import MAX_KEPT, DistanceScorer
from ._contributions import contributions_of, direction_rotation, feature_rotation
from ._drift import Drift, hotelling_pvalue, hotelling_statistic, permutation_pvalue
from ._groups import Tail, fisher
from ._law import Law, Total, blocks, total_of, unit_rows
from ._pvalues import chi2_pvalues, f_pvalues, n_chi2_needed
from ._reservoir import Reservoir


class LawScorer(DistanceScorer):
    """What follows from one law of each group of columns."""

    n_samples_seen_: int
    classes_: NDArray[Any]

    _laws: list[Law]
    _held_out_laws: list[Law]
    _tails: list[Tail]
    _held_out_tails: list[Tail]
    _calibration_distances: NDArray[np.float64]
    _totals: list[Total]
    _edges: list[int]
    _unit: bool
    _seed: int

    def _factor_of(self, total: Any) -> Factor:
        raise NotImplementedError

    def _describe(self, total: Total) -> None:
        """Store what a user may want to know of the laws."""
        laws = self._laws
        self.location_ = np.concatenate([law.shares @ law.means for law in laws])
        if isinstance(total, ClassMoments):
            self.classes_ = total.classes
            self.means_ = np.concatenate([law.means for law in laws], axis=1)
        by_class = [
            block_diag(*(factor.covariance() for factor in factors))
            for factors in zip(*(law.factors for law in laws), strict=True)
        ]
        single = len(by_class) == 1
        self.covariance_ = by_class[0] if single else np.stack(by_class)
        self.shrinkage_ = self._figure("shrinkage")
        self.rank_ = self._figure("rank")
        self.condition_number_ = self._figure("condition_number")

    def _figure(self, name: str) -> Any:
        """Return a figure of each group and each covariance, a number where one."""
        found = np.array(
            [[getattr(f, name) for f in law.factors] for law in self._laws]
        )
        if self.groups is None:
            found = found[0]
        if len(self._laws[0].factors) == 1:
            found = found[..., 0]
        return found if found.ndim else found.item()

    # ------------------------------------------------------------------ distances

    def _columns(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the columns of each group."""
        edges = zip(self._edges[:-1], self._edges[1:], strict=True)
        return [rows[:, first:last] for first, last in edges]

    def _mapped(
        self,
        law: Law,
        columns: NDArray[Any],
        function: Callable[..., NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Return what a function gives for rows, which are first put to length 1.

        In blocks, unless there is one distance a row, which is taken in blocks anyway.
        """
        if len(law.means) == 1 and not self._unit:
            return function(columns)
        found = (function(self._given(columns[part])) for part in blocks(len(columns)))
        return np.concatenate(list(found))

    def _given(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Return rows of a group of columns as they are measured."""
        return unit_rows(columns) if self._unit else columns

    def _of_laws(
        self,
        laws: list[Law],
        rows: NDArray[Any],
        method: Callable[..., NDArray[np.float64]],
    ) -> list[NDArray[np.float64]]:
        """Return what a method of each law gives for the columns of its group."""
        pairs = zip(laws, self._columns(rows), strict=True)
        return [
            self._mapped(law, columns, partial(method, law)) for law, columns in pairs
        ]

    def _by_group(self, laws: list[Law], rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the distance that counts in each group, (n_samples, n_groups)."""
        return np.stack(self._of_laws(laws, rows, Law.relative), axis=1)

    def _combined(
        self, laws: list[Law], tails: list[Tail], rows: NDArray[Any]
    ) -> NDArray[np.float64]:
        distances = self._by_group(laws, rows)
        return fisher(distances, tails) if tails else distances[:, 0]

    def _distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return self._combined(self._laws, self._tails, rows)

    def _held_out_distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return self._combined(self._held_out_laws, self._held_out_tails, rows)

    def _calibration(self) -> NDArray[np.float64]:
        return self._calibration_distances

    def _nearest(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the squared distance from the nearest mean in each group."""
        return np.stack(self._of_laws(self._laws, rows, Law.nearest), axis=1)

    def mahalanobis(self, X: Any) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each row.

        From the nearest class where there are classes; those of groups of columns are
        added up.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        distances : ndarray of shape (n_samples,), float64
            Dimensionless.
        """
        return self._nearest(self._rows(X)).sum(axis=1)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of the rows under the law that was learned.

        A Gaussian, or the mixture of those of the classes; groups of columns are taken
        to be independent. It compares covariances of the same columns; a density in
        other columns has other units, and the fewer these vary the higher it is, so it
        chooses no features: `select_features` does.

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
        rows = self._rows(X)
        found = self._of_laws(self._laws, rows, Law.log_densities)
        return float(np.sum(found, axis=0).mean())

    def nearest_class(self, X: Any) -> NDArray[Any]:
        """Return the class that each row is nearest to.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Of those in `classes_`; by the sum of the squared distances of all groups.

        Raises
        ------
        ValueError
            If the scorer was not fitted with ``class_conditional=True``.
        """
        rows = self._rows(X)
        if not hasattr(self, "classes_"):
            raise ValueError(
                "nearest_class needs classes, which this scorer was fitted without. "
                "Set class_conditional=True and fit it on X and y."
            )
        numbers = [
            np.sum(self._of_laws(self._laws, rows[part], Law.distances), 0).argmin(1)
            for part in blocks(len(rows))
        ]
        return self.classes_[np.concatenate(numbers)]

    # ------------------------------------------------------------------- p-values

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
            If training rows were too few to calibrate on, or the F or chi-squared law
            does not hold: too few rows to a column, or columns that depend on each
            other.
        """
        if self.pvalue_method == "conformal":
            return super().pvalue(X)
        rows = self._rows(X)
        self._check_law(self.pvalue_method)
        distances = self._distances(rows)
        if self.pvalue_method == "chi2":
            return chi2_pvalues(distances, self.n_features_in_)
        return f_pvalues(distances, self.n_samples_seen_, self.n_features_in_)

    def _check_law(self, method: str) -> None:
        """Raise where the rows do not bear the F law, or not the chi-squared one."""
        n, d = self.n_samples_seen_, self.n_features_in_
        if n <= d:
            raise ValueError(
                f"pvalue_method={method!r} needs more rows than columns, got {n} rows "
                f"of {d} columns. Use pvalue_method='conformal'."
            )
        if method == "chi2" and n < n_chi2_needed(d):
            raise ValueError(
                "pvalue_method='chi2' takes mean and covariance as known, which with "
                f"{d} columns holds from {n_chi2_needed(d)} rows on, got {n}. Use "
                "pvalue_method='f', which is exact for Gaussian rows."
            )
        least = self._least_correlation_value()
        if least < self._least_full_value():
            raise ValueError(
                f"pvalue_method={method!r} needs a covariance of full rank, got a "
                f"correlation matrix whose smallest eigenvalue is {least:.2g}, below "
                "100 * ridge. Use pvalue_method='conformal', or a smaller ridge on "
                "float64 rows."
            )

    def _least_correlation_value(self) -> float:
        (total,) = self._totals
        whole = total.total if isinstance(total, ClassMoments) else total
        return float(correlation_values(whole.covariance)[0])

    def _least_full_value(self) -> float:
        """Return the least eigenvalue at which the ridge changes distances by 1 %."""
        return max(100 * self.ridge, 1e-10)

    # ---------------------------------------------------------------- explanations

    def contributions(self, X: Any, by: str = "feature") -> NDArray[np.float64]:
        """Return what made each row far, in parts of its squared distance.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        by : {"feature", "direction", "group"}, default="feature"
            "feature" turns whitened rows so that each of their columns is as correlated
            as can be with that of X (the corr-max transformation [1]_), and squares
            them: unlike ``(x - mean) * (precision (x - mean))``, none is negative.
            "direction" is by principal directions of the covariance, in each group
            that of the largest variance first. "group" is by groups of columns.

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_features or n_groups), float64
            Dimensionless, not negative; a row's add up to ``mahalanobis(X)``, and are
            those of its nearest class where there are classes.

        References
        ----------
        .. [1] P. Garthwaite, I. Koch, "Evaluating the contributions of individual
               variables to a quadratic form", Australian & New Zealand J. of
               Statistics 58(1), 2016.

        Examples
        --------
        >>> import numpy as np
        >>> from manifoldgen import MahalanobisScorer
        >>> X = np.random.default_rng(0).normal(size=(1000, 3))
        >>> scorer = MahalanobisScorer(random_state=0).fit(X)
        >>> scorer.contributions([[0.0, 5.0, 0.0]]).round()
        array([[ 0., 25.,  0.]])
        """
        check_choice("by", by, ("feature", "direction", "group"))
        rows = self._rows(X)
        if by == "group":
            return self._nearest(rows)
        rotate = feature_rotation if by == "feature" else direction_rotation

        def of(law: Law, columns: NDArray[Any]) -> NDArray[np.float64]:
            rotations = [rotate(factor) for factor in law.factors]
            parts = partial(contributions_of, law, rotations)
            return self._mapped(law, columns, parts)

        pairs = zip(self._laws, self._columns(rows), strict=True)
        return np.concatenate([of(law, columns) for law, columns in pairs], axis=1)

    def pairwise(self, A: Any, B: Any = None) -> NDArray[np.float64]:
        """Return the Mahalanobis distance of each row of A from each row of B.

        How different two rows (two images, say) are, in units of how much normal rows
        differ. It is not squared.

        Parameters
        ----------
        A : array-like of shape (n_a, n_features)
        B : array-like of shape (n_b, n_features), default=None
            None is A.

        Returns
        -------
        distances : ndarray of shape (n_a, n_b), float64
            Dimensionless.

        Raises
        ------
        ValueError
            If each class has a covariance of its own, so that there is no one metric.
        """
        rows = self._rows(A)
        others = rows if B is None else self._rows(B)
        if any(len(law.factors) > 1 for law in self._laws):
            raise ValueError(
                "pairwise needs one covariance, got one of each class. Set "
                "class_covariance='tied', or fit a scorer without classes."
            )
        white = self._white(others)
        parts = [cdist(self._white(rows[part]), white) for part in blocks(len(rows))]
        return np.concatenate(parts)

    def _white(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        pairs = zip(self._laws, self._columns(rows), strict=True)
        found = [
            self._mapped(law, columns, law.factors[0].whiten) for law, columns in pairs
        ]
        return np.concatenate(found, axis=1)

    # ----------------------------------------------------------------------- drift

    def drift(self, X: Any) -> Drift:
        """Compare the mean of a batch of rows with that of the training rows.

        By Hotelling's T² under the covariance of all training rows, classes or not.
        With ``covariance="empirical"`` of full rank, neither classes, groups nor
        `normalize`, and more rows than columns, the p-value is that of the F law,
        exact for Gaussian rows. Else it is that of 999 permutations of the batch and
        the rows that the fit kept (10,000 of each at most), whitened by the covariance
        of both together: exact for rows of any distribution.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One batch of new rows.

        Returns
        -------
        drift : Drift
            `statistic`, `pvalue` and `mean_shift`, by name. The shift is in the units
            of X, or of rows of length 1 under ``normalize="l2"``.

        Raises
        ------
        ValueError
            If permutations need training rows that were not saved with the scorer.

        Examples
        --------
        >>> import numpy as np
        >>> from manifoldgen import MahalanobisScorer
        >>> rng = np.random.default_rng(0)
        >>> scorer = MahalanobisScorer(random_state=0).fit(rng.normal(size=(1000, 3)))
        >>> found = scorer.drift(rng.normal(size=(100, 3)) + [0.5, 0.0, 0.0])
        >>> found.pvalue <= 0.001, int(abs(found.mean_shift).argmax())
        (True, 0)
        """
        rows = self._rows(X)
        shift, distance = [], 0.0
        for total, columns in zip(self._totals, self._columns(rows), strict=True):
            whole = total.total if isinstance(total, ClassMoments) else total
            sums = [
                self._given(columns[part]).sum(axis=0, dtype=np.float64)
                for part in blocks(len(rows))
            ]
            mean = np.sum(sums, axis=0) / len(rows)
            shift.append(mean - whole.mean)
            law = self._factor_of(whole)
            distance += float(law.squared_distances(mean[None])[0])
        n, d = self.n_samples_seen_, self.n_features_in_
        statistic = hotelling_statistic(distance, n, len(rows))
        if self._follows_f():
            pvalue = hotelling_pvalue(statistic, n, d)
        else:
            pvalue = self._permuted(rows)
        return Drift(statistic, pvalue, np.concatenate(shift))

    def _follows_f(self) -> bool:
        """Return whether the law of distances of means is known."""
        plain = self.covariance == "empirical" and not self._unit
        if not plain or len(self._totals) > 1 or hasattr(self, "classes_"):
            return False
        enough = self.n_samples_seen_ > self.n_features_in_
        return enough and self._least_correlation_value() >= self._least_full_value()

    def _permuted(self, rows: NDArray[Any]) -> float:
        if not hasattr(self, "_reservoir"):
            raise ValueError(
                "drift compares a batch with training rows, which were not stored with "
                "this scorer. Save it with include_data=True, or fit again."
            )
        rng = np.random.default_rng(self._seed)
        if len(rows) > MAX_KEPT:
            rows = rows[rng.choice(len(rows), MAX_KEPT, replace=False)]
        kept = Reservoir(*self._reservoir).rows
        both = np.concatenate([rows, kept])
        white = []
        for columns in self._columns(both):
            given = self._given(columns)
            fourth = self.covariance == "ledoit_wolf"
            whole = total_of(given, None, fourth=fourth)
            white.append(self._factor_of(whole).whiten(given))
        return permutation_pvalue(np.concatenate(white, axis=1), len(rows), rng)
