"""Outliers by the Mahalanobis distance from all training rows, or from their class."""

import warnings
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Tags

from .._conditional import check_labels_of_rows
from .._random import draw_seed, random_state_of
from .._validation import check_bool, check_choice, check_real, check_sizes
from ..base import unchanged_on_error
from ..covariance import ClassMoments, Factor, Moments, factor, robust_factor
from ._base import MAX_KEPT
from ._checks import check_classes, check_continues, check_gaussian
from ._groups import LEAST_CALIBRATION, fisher, tail_of
from ._law import (
    Law,
    Total,
    blocks,
    law_of,
    law_of_rows,
    merge,
    total_of,
    unit_rows,
    without,
)
from ._law_scorer import LawScorer
from ._pvalues import chi2_threshold, f_threshold
from ._reservoir import AllRows, Reservoir, kept_of, row_keys

Covariance = Literal[
    "oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank", "robust"
]
COVARIANCES: tuple[str, ...] = get_args(Covariance)
"""What `covariance` of scorers may be."""
_LEAST_LEFT = 1e-4  # of the squares, where float32 rows are summed in blocks


class MahalanobisScorer(LawScorer):
    r"""Score rows by their squared Mahalanobis distance from the training data.

    .. math:: D^2(x) = \min_c (x - \mu_c)^T (\Sigma_c + R)^{-1} (x - \mu_c)

    with one mean and covariance, or those of each class c, and a diagonal ridge R that
    follows the variances of the columns. Data that span less than their space are no
    special case: a row off the span is far, and the farther off the farther. Moments
    stream exactly by `partial_fit`. For data on a curved surface, score the latents and
    residuals of a manifold instead: `ManifoldScorer`. Behind steps that are fitted to
    the same rows, such as a network in a Pipeline, training rows look more normal than
    new ones do: for p-values that hold there, hold rows out of all steps, by
    ``ScoreOutlierDetector(pipeline)``.

    Parameters
    ----------
    covariance : {"oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank", \
"robust"}, default="oas"
        "oas" and "ledoit_wolf" are shrunk to a sphere, by Oracle Approximating
        Shrinkage or by Ledoit's and Wolf's estimate, for columns of one unit;
        "empirical" is the maximum-likelihood covariance, under which distances do not
        depend on the units of the columns, and "diagonal" its diagonal. "ppca" has
        leading directions and one variance of all others, "low_rank" the ridge alone
        in all others. "robust", the minimum covariance determinant, is for training
        rows of which a good part are outliers.
    n_components : int, float or None, default=None
        Number of leading directions of "ppca", "low_rank" and "robust", or the least
        share of the variance that they hold, in (0, 1); None chooses. The others have
        no use for it.
    ridge : float, default=1e-6
        What is added to the variance of each column, as a share of that variance and
        at least of `ridge` times the mean variance; in [0, 1].
    class_conditional : bool, default=False
        Whether there is a Gaussian of each class in `y`, of which the nearest counts.
    class_covariance : {"tied", "full"}, default="tied"
        Whether classes share the covariance of the rows less the means of their class,
        or have one each, for which two rows of each class are the least.
    relative : bool, default=False
        Whether the squared distance from one Gaussian on the rows of all classes is
        taken off [5]_, so that what is common to all classes does not count; for
        rows that are almost of a class. Needs `class_conditional`.
    normalize : {"l2"} or None, default=None
        "l2" first puts rows, of each group by itself, to length 1 [6]_, for features
        of a network whose length says more of the network than of the row.
    groups : sequence of int or None, default=None
        Numbers of columns, of several layers of a network, say: each group of columns
        has a distance of its own. They are combined by Fisher's statistic of their
        p-values among the calibration rows; `pvalue` ranks that statistic among other
        calibration rows, so it holds for groups that depend on each other.
    contamination : float or None, default=None
        Share of training rows that `predict` calls outliers, in (0, 0.5]; None is 0.1
        unless `false_alarm_rate` is given.
    false_alarm_rate : float or None, default=None
        Share of new normal rows that `predict` calls outliers, in (0, 0.5], in place
        of `contamination`: `predict` is then -1 where `pvalue` is at most this, and
        all distances are from the rows that do not calibrate.
    calibration_fraction : float, default=0.2
        Share of training rows that conformal p-values are calibrated on, in [0, 1); at
        most 10,000 rows. They are left out of a second set of moments, which serves
        `pvalue` alone; everything else rests on all rows. With `groups` the first half
        of them makes distances comparable and the other half calibrates.
    pvalue_method : {"conformal", "f", "chi2"}, default="conformal"
        "conformal" holds for rows of any distribution, of which training rows and new
        rows are independent draws; its smallest value is ``1 / (1 + n_calibration)``.
        "f" is the exact law of new rows for Gaussian data, with p-values of any
        smallness; for ``covariance="empirical"`` of full rank without classes, groups
        or `normalize`, with more rows than columns. "chi2" is its limit for many rows,
        allowed from where at most .055 of new rows have a p-value of .05.
    random_state : int, RandomState or None, default=None
        Chooses the calibration rows, and the rows behind `offset_` where there are
        more than 10,000.

    Attributes
    ----------
    location_ : ndarray of shape (n_features,), float64
        Mean of all rows; of "robust" the robust one.
    covariance_ : ndarray of shape (n_features, n_features), float64
        Covariance that distances are measured with, ridge included; one for each class
        before these axes with ``class_covariance="full"``. No two groups covary.
    shrinkage_ : float or ndarray
        Weight of the sphere in it; of each group and each class, where there are.
    rank_ : int or ndarray
        Number of directions in which the rows vary.
    condition_number_ : float or ndarray
        Largest over smallest eigenvalue of the covariance.
    classes_, means_ : ndarray of shape (n_classes, ...)
        Labels and means of the classes, where there are.
    offset_ : float
        The percentile ``100 * contamination`` of the scores of at most 10,000 training
        rows, below which new rows fall more often where rows are few to a column; or
        the score at which `pvalue` is `false_alarm_rate`.
    n_samples_seen_ : int
        Number of rows in the moments.
    n_features_in_ : int
        Number of columns in `fit`.

    Raises
    ------
    ValueError
        If a parameter is out of range or does not go with another, X has fewer than 2
        rows (in `fit`), `y` is missing or has too few rows of a class where
        `class_conditional`, or calibration rows are too few.

    References
    ----------
    .. [1] Y. Chen, A. Wiesel, Y. Eldar, A. Hero, "Shrinkage algorithms for MMSE
           covariance estimation", IEEE Trans. Signal Processing 58(10), 2010,
           arXiv:0907.4698, Eq. (23).
    .. [2] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world",
           Springer, 2005, Sect. 4.1 (split conformal).
    .. [3] T. W. Anderson, "An introduction to multivariate statistical analysis", 3rd
           ed., Wiley, 2003, Theorem 5.2.2 (the F law).
    .. [4] K. Lee, K. Lee, H. Lee, J. Shin, "A simple unified framework for detecting
           out-of-distribution samples and adversarial attacks", NeurIPS 2018,
           arXiv:1807.03888 (tied classes).
    .. [5] J. Ren et al., "A simple fix to Mahalanobis distance for improving near-OOD
           detection", 2021, arXiv:2106.09022.
    .. [6] M. Mueller, M. Hein, "Mahalanobis++: improving OOD detection via feature
           normalization", ICML 2025, arXiv:2505.18032.

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
    >>> y = np.arange(1000) % 2
    >>> X[y == 1] += 9
    >>> scorer = MahalanobisScorer(class_conditional=True, random_state=0).fit(X, y)
    >>> scorer.nearest_class([[9.0, 9.0, 9.0]]), scorer.predict([[4.5, 4.5, 4.5]])
    (array([1]), array([-1]))
    """

    _training_data = ("_reservoir",)

    def __init__(
        self,
        *,
        covariance: Covariance = "oas",
        n_components: int | float | None = None,
        ridge: float = 1e-6,
        class_conditional: bool = False,
        class_covariance: Literal["tied", "full"] = "tied",
        relative: bool = False,
        normalize: Literal["l2"] | None = None,
        groups: Sequence[int] | None = None,
        contamination: float | None = None,
        false_alarm_rate: float | None = None,
        calibration_fraction: float = 0.2,
        pvalue_method: Literal["conformal", "f", "chi2"] = "conformal",
        random_state: Any = None,
    ) -> None:
        self.covariance = covariance
        self.n_components = n_components
        self.ridge = ridge
        self.class_conditional = class_conditional
        self.class_covariance = class_covariance
        self.relative = relative
        self.normalize = normalize
        self.groups = groups
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.calibration_fraction = calibration_fraction
        self.pvalue_method = pvalue_method
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn means and covariances of the rows of `X`, and the offset.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least 2 rows.
        y : array-like of shape (n_samples,), default=None
            Labels; ignored unless `class_conditional`.

        Returns
        -------
        self : MahalanobisScorer
        """
        with unchanged_on_error(self):
            self._check_parameters()
            rows = self._rows(X, reset=True, n_min=2)
            self._begin(rows.shape[1])
            labels = self._labels(y, len(rows))
            keys = row_keys(self._seed, 0, len(rows))
            kept = kept_of(None, keys, rows, labels, MAX_KEPT)
            self._learn(
                self._totals_of(rows, labels), kept, AllRows(rows, labels, keys)
            )
            self._reservoir = tuple(kept)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Add the rows of `X` to those seen so far.

        The result is that of `fit` on all of them, whatever the batches, to rounding;
        new classes may come at any time. For that at most 10,000 rows are kept. A
        scorer that was saved without them goes on with exact moments; its offset and
        calibration then rest on the new rows, with a warning.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One row is enough.
        y : array-like of shape (n_samples,), default=None
            Labels; ignored unless `class_conditional`.

        Returns
        -------
        self : MahalanobisScorer
        """
        with unchanged_on_error(self):
            self._check_parameters()
            if self.covariance == "robust":
                raise ValueError(
                    "covariance='robust' needs all rows at once, so partial_fit is not "
                    "for it. Use fit, or another covariance."
                )
            first = not hasattr(self, "n_samples_seen_")
            rows = self._rows(X, reset=first)
            if first:
                self._begin(rows.shape[1])
            elif not hasattr(self, "_reservoir"):
                warnings.warn(
                    "The training rows were not stored with this scorer, so offset_ "
                    "and the calibration of pvalue now rest on the rows given to "
                    "partial_fit from here on; the moments still hold all rows.",
                    UserWarning,
                    stacklevel=2,
                )
            self._add(rows, self._labels(y, len(rows)))
        return self

    def _begin(self, n_features: int) -> None:
        """Forget what was learned, and fix what rows to come are taken apart by."""
        for name in ("classes_", "means_", "_reservoir"):
            self.__dict__.pop(name, None)
        self._seed = draw_seed(random_state_of(self.random_state))
        self._unit = self.normalize is not None
        given = self.groups
        sizes = (n_features,) if given is None else check_sizes("groups", given)
        if sum(sizes) != n_features:
            raise ValueError(
                f"groups must add up to the {n_features} columns of X, got {given!r}, "
                f"which add up to {sum(sizes)}."
            )
        self._edges = np.cumsum([0, *sizes]).tolist()

    def _labels(self, y: Any, n: int) -> NDArray[Any] | None:
        if not self.class_conditional:
            return None
        return check_labels_of_rows(y, n, "class_conditional")

    def _add(self, rows: NDArray[Any], labels: NDArray[Any] | None) -> None:
        seen = getattr(self, "_totals", [])
        totals = self._totals_of(rows, labels)
        if seen:
            check_continues(seen[0], totals[0])
            totals = [merge(old, new) for old, new in zip(seen, totals, strict=True)]
        stored = getattr(self, "_reservoir", None)
        keys = row_keys(self._seed, seen[0].n_samples if seen else 0, len(rows))
        before = None if stored is None else Reservoir(*stored)
        kept = kept_of(before, keys, rows, labels, MAX_KEPT)
        self._learn(totals, kept, None)
        self._reservoir = tuple(kept)

    def _learn_in_order(self, rows: NDArray[Any]) -> Self:
        """Learn from rows of which the first calibrate; none of them is kept."""
        self._check_parameters()
        self.n_features_in_ = rows.shape[1]
        self._begin(rows.shape[1])
        keys = np.arange(len(rows)) / len(rows)
        kept = Reservoir(len(rows), keys[:MAX_KEPT], rows[:MAX_KEPT], None)
        self._learn(self._totals_of(rows, None), kept, AllRows(rows, None, keys))
        return self

    def _learn(
        self, totals: list[Total], kept: Reservoir, whole: AllRows | None
    ) -> None:
        """Learn from all moments, and from kept rows of which the first calibrate."""
        if isinstance(totals[0], ClassMoments):
            check_classes(totals[0], tied=self.class_covariance == "tied")
        self._totals, self.n_samples_seen_ = totals, totals[0].n_samples
        self._tails, self._held_out_tails = [], []
        self._held_out_laws, self._calibration_distances = [], np.empty(0)
        n_calibration = self._n_calibration(kept.n_offered)
        if self.groups is not None and n_calibration < LEAST_CALIBRATION:
            raise ValueError(
                f"groups needs {LEAST_CALIBRATION} calibration rows at least, got "
                f"{n_calibration}, with calibration_fraction="
                f"{self.calibration_fraction!r}. Fit on more rows, or with a larger "
                "calibration_fraction."
            )
        conformal = self.pvalue_method == "conformal"
        used = totals
        if conformal and n_calibration:
            some = None if kept.labels is None else kept.labels[:n_calibration]
            part = self._totals_of(kept.rows[:n_calibration], some)
            left = self._totals_left(totals, part)
            if left:
                others = None
                if whole is not None and (
                    self.covariance == "robust" or _is_rounded(left, totals)
                ):
                    others = whole.without(n_calibration)
                    left = self._totals_of(others.rows, others.labels)
                self._held_out_laws = self._laws_of(left, others)
                self._calibrate(kept.rows[:n_calibration])
                used = left if self.false_alarm_rate is not None else totals
        if used is totals:
            self._laws = self._laws_of(totals, whole)
        else:
            self._laws, self._tails = self._held_out_laws, self._held_out_tails
        self._describe(used[0])
        self.offset_ = self._offset(kept.rows)

    def _calibrate(self, rows: NDArray[Any]) -> None:
        distances = self._by_group(self._held_out_laws, rows)
        if self.groups is None:
            self._calibration_distances = distances[:, 0]
            return
        half = len(rows) // 2
        self._tails = [tail_of(column) for column in distances.T]
        self._held_out_tails = [tail_of(column[:half]) for column in distances.T]
        self._calibration_distances = fisher(distances[half:], self._held_out_tails)

    def _offset(self, rows: NDArray[Any]) -> float:
        if self.false_alarm_rate is None:
            return self._share_offset(self._distances(rows))
        if self.pvalue_method == "conformal":
            return self._rate_offset()
        self._check_law(self.pvalue_method)
        d = self.n_features_in_
        if self.pvalue_method == "chi2":
            return -chi2_threshold(self.false_alarm_rate, d)
        return -f_threshold(self.false_alarm_rate, self.n_samples_seen_, d)

    # ------------------------------------------------------------ moments and laws

    def _totals_of(
        self, rows: NDArray[Any], labels: NDArray[Any] | None
    ) -> list[Total]:
        """Return the moments of each group of columns."""
        return [self._total_of(columns, labels) for columns in self._columns(rows)]

    def _total_of(self, columns: NDArray[Any], labels: NDArray[Any] | None) -> Total:
        fourth = self.covariance == "ledoit_wolf"
        if not self._unit:
            return total_of(columns, labels, fourth=fourth)
        parts = (
            total_of(
                unit_rows(columns[part]),
                None if labels is None else labels[part],
                fourth=fourth,
            )
            for part in blocks(len(columns))
        )
        return reduce(merge, parts)

    def _totals_left(self, totals: list[Total], parts: list[Total]) -> list[Total]:
        """Return moments without calibration rows; none where no class has a row."""
        n_least = 2 if self.class_covariance == "full" else 1
        left = []
        for total, part in zip(totals, parts, strict=True):
            rest = without(total, part, n_least)
            if rest is None:
                return []
            left.append(rest)
        return left

    def _laws_of(self, totals: list[Total], whole: AllRows | None) -> list[Law]:
        """Return the law of each group, from moments or, if robust, from the rows."""
        if self.covariance == "robust" and whole is not None:
            make = partial(
                robust_factor,
                ridge=self.ridge,
                n_components=self.n_components,
                random_state=self._seed,
            )
            return [
                law_of_rows(
                    self._given(columns),
                    whole.labels,
                    make,
                    relative=self.relative,
                )
                for columns in self._columns(whole.rows)
            ]
        tied = self.class_covariance == "tied"
        return [
            law_of(total, self._factor_of, tied=tied, relative=self.relative)
            for total in totals
        ]

    def _factor_of(self, total: Moments) -> Factor:
        # one that is robust is made of rows; here are the means of batches alone
        kind = "oas" if self.covariance == "robust" else self.covariance
        n_components = self.n_components if kind in ("ppca", "low_rank") else None
        return factor(total, kind, ridge=self.ridge, n_components=n_components)

    # ----------------------------------------------------------------------- checks

    def _check_parameters(self) -> None:
        check_choice("covariance", self.covariance, COVARIANCES)
        check_real("ridge", self.ridge, 0.0, 1.0)
        check_bool("class_conditional", self.class_conditional)
        check_choice("class_covariance", self.class_covariance, ("tied", "full"))
        check_bool("relative", self.relative)
        if self.normalize is not None:
            check_choice("normalize", self.normalize, ("l2",))
        self._check_threshold()
        if self.relative and not self.class_conditional:
            raise ValueError(
                "relative=True needs class_conditional=True: without classes the "
                "distance from all rows would be taken off itself. Set it and fit on "
                "X and y, or set relative=False."
            )
        tied = self.class_conditional and self.class_covariance == "tied"
        if tied and self.covariance == "robust":
            raise ValueError(
                "covariance='robust' takes mean and covariance of one set of rows, so "
                "with class_conditional=True it needs class_covariance='full', got "
                "'tied'."
            )
        method = check_choice(
            "pvalue_method", self.pvalue_method, ("conformal", "f", "chi2")
        )
        if method != "conformal":
            check_gaussian(method, self.get_params(deep=False))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.class_conditional is True
        return tags


def _is_rounded(left: list[Total], totals: list[Total]) -> bool:
    """Return whether moments are so much less than those they were taken out of.

    What is left of the digits then is rounding: calibration rows that are huge hide
    the others.
    """
    return any(
        _spread(part) < _LEAST_LEFT * _spread(total)
        for part, total in zip(left, totals, strict=True)
    )


def _spread(total: Total) -> float:
    whole = total.total if isinstance(total, ClassMoments) else total
    return float(whole.scatter.trace())
