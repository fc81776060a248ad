"""Outliers by their distance along a manifold and off it."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .._random import draw_seed, random_state_of
from .._validation import check_choice, check_real
from ..base import seeded_clone, unchanged_on_error
from ..covariance import leave_one_out
from ._base import MAX_KEPT, DistanceScorer
from ._groups import tail_of, tippett
from ._law import Law
from ._mahalanobis import COVARIANCES, Covariance, MahalanobisScorer

_MIN_UNSEEN = 200
_LEFT_OUT = ("oas", "ledoit_wolf", "empirical")


class ManifoldScorer(DistanceScorer):
    r"""Score rows by how far they are along a manifold and off it.

    A manifold maps a row x to latents z and back to :math:`\hat x`. The score is

    .. math:: \min(\log p(D^2(z)), \, \log p(D^2(x - \hat x)))

    of two squared Mahalanobis distances: of the latents, which tell a row that is odd
    but of the kind of the data, and of the residual, which tells one that is not.
    Latents alone miss what lies off the manifold: noise that an encoder takes out
    leaves them as they were. p is how often a normal row is at least as far, by the
    distances of training rows and beyond them an exponential tail, and the smaller one
    counts [1]_: a row does not belong that is too far in either way. Distances as they
    are would not add up: that of the 784 columns of a residual varies more, between
    normal rows, than that of 32 latents does between normal rows and others.

    A network reconstructs the rows that it was trained on better than others of their
    kind. So where there are 400 rows or more, the manifold is fitted to one half, and
    covariances, offset and calibration come from the other. With fewer rows it sees all
    but the calibration rows, covariances and offset come from all rows, and new rows
    are flagged more often than `contamination` says; `pvalue` is exact in both cases.

    Work and memory grow with the square of the number of features: a fit to 10,000 rows
    of 3,072 features takes some 20 s on two cores and a gigabyte, beside the manifold.

    Parameters
    ----------
    manifold : estimator, default=None
        Has `transform` and `inverse_transform`: a manifold of this package, PCA, or a
        pipeline of such. It is cloned, and where a `random_state` of it or of its parts
        is None, that is drawn from ours. None is ``AutoencoderManifold()``.
    covariance : {"oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank", \
"robust"}, default="oas"
        As in `MahalanobisScorer`, for latents and residual each.
    ridge : float, default=1e-6
        As in `MahalanobisScorer`.
    contamination : float or None, default=None
        Share of normal rows that `predict` calls outliers, in (0, 0.5]; None is 0.1
        unless `false_alarm_rate` is given.
    false_alarm_rate : float or None, default=None
        As in `MahalanobisScorer`: `predict` is -1 where `pvalue` is at most this.
    calibration_fraction : float, default=0.2
        Share of the rows behind the covariances that p-values are calibrated on, in
        [0, 1); at most 10,000 rows.
    random_state : int, RandomState or None, default=None
        Chooses the rows of each purpose, and seeds the manifold.

    Attributes
    ----------
    manifold_ : estimator
        The fitted manifold.
    latent_scorer_, residual_scorer_ : MahalanobisScorer
        The two distances; ``score_samples`` of this class combines theirs.
    offset_ : float
        The percentile ``100 * contamination`` of scores: of at most 10,000 rows that
        the manifold did not see, each as if it had been left out of the covariances;
        with fewer than 400 rows, or a covariance that has no closed form of that
        ("diagonal", "ppca", "low_rank", "robust"), of training rows as they are. Or
        the score at which `pvalue` is `false_alarm_rate`.
    n_features_in_ : int
        Number of columns in `fit`.

    Raises
    ------
    TypeError
        If the manifold lacks `transform` or `inverse_transform`.
    ValueError
        If a parameter is out of range, X has fewer than 2 rows, or the manifold does
        not give back finite rows of the width of X.

    References
    ----------
    .. [1] L. H. C. Tippett, "The methods of statistics", Williams and Norgate, 1931. We
           take ranks for p-values where we compare, and calibrate those of `pvalue` on
           rows of their own.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from manifoldgen import ManifoldScorer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 8))
    >>> X += 0.01 * rng.normal(size=X.shape)
    >>> scorer = ManifoldScorer(PCA(2), random_state=0).fit(X)
    >>> off_the_plane = X[:1] + 0.1 * rng.normal(size=8)
    >>> scorer.predict(np.vstack([X[:1], off_the_plane]))
    array([ 1, -1])
    """

    def __init__(
        self,
        manifold: Any = None,
        *,
        covariance: Covariance = "oas",
        ridge: float = 1e-6,
        contamination: float | None = None,
        false_alarm_rate: float | None = None,
        calibration_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.manifold = manifold
        self.covariance = covariance
        self.ridge = ridge
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the manifold, the two covariances and the offset.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least 2 rows. Images are handed to the manifold as rows.
        y : None
            Ignored.

        Returns
        -------
        self : ManifoldScorer
        """
        with unchanged_on_error(self):
            self._check_parameters()
            rows = self._rows(X, reset=True, n_min=2)
            rng = random_state_of(self.random_state)
            manifold = self._new_manifold(rng)
            order = rng.permutation(len(rows))
            enough = len(rows) // 2 >= _MIN_UNSEEN
            learned = order[: len(rows) // 2] if enough else order
            n_calibration = self._n_calibration(len(learned))
            seen = order[len(learned) if enough else n_calibration :]
            self.manifold_ = manifold.fit(rows[seen])
            latents, residuals = self._parts(rows[learned])
            self._check_parts(latents, residuals)
            self.latent_scorer_ = self._part_scorer(latents)
            self.residual_scorer_ = self._part_scorer(residuals)
            left_out = enough and self.covariance in _LEFT_OUT
            self._calibrate(latents, residuals, left_out)
        return self

    def _calibrate(
        self, latents: NDArray[Any], residuals: NDArray[Any], left_out: bool
    ) -> None:
        """Learn how far normal rows are, and from which distance on rows are flagged.

        The distances that p-values rest on are made comparable by rows that do not
        calibrate, or calibration rows would know the score that judges them.
        """
        scorers = self.latent_scorer_, self.residual_scorer_
        parts = latents[:MAX_KEPT], residuals[:MAX_KEPT]
        kept = _each(MahalanobisScorer._distances, scorers, parts)
        if left_out:
            kept = _left_out([scorer._laws for scorer in scorers], kept, len(latents))
        self._tails = [tail_of(column) for column in kept.T]
        calibration = [scorer._calibration() for scorer in scorers]
        self._held_out_tails, self._calibration_distances = [], np.empty(0)
        if n_calibration := len(calibration[0]):
            rest = slice(n_calibration, n_calibration + MAX_KEPT)
            parts = latents[rest], residuals[rest]
            others = _each(MahalanobisScorer._held_out_distances, scorers, parts)
            n_others = len(latents) - n_calibration
            if left_out and n_others > 1:
                laws = [scorer._held_out_laws for scorer in scorers]
                others = _left_out(laws, others, n_others)
            self._held_out_tails = [tail_of(column) for column in others.T]
            self._calibration_distances = tippett(
                np.stack(calibration, axis=1), self._held_out_tails
            )
        if self.false_alarm_rate is None:
            self.offset_ = self._share_offset(tippett(kept, self._tails))
        else:
            self.offset_ = self._rate_offset()

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of latents and residual, taken as independent.

        It depends on the scale that the manifold gives its latents, so it compares
        data under one scorer, not scorers.

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
        latents, residuals = self._parts(self._rows(X))
        return self.latent_scorer_.score(latents) + self.residual_scorer_.score(
            residuals
        )

    def _new_manifold(self, rng: np.random.RandomState) -> Any:
        if self.manifold is None:
            from ..manifold import AutoencoderManifold

            return AutoencoderManifold(random_state=draw_seed(rng))
        for method in ("fit", "transform", "inverse_transform"):
            if not hasattr(self.manifold, method):
                raise TypeError(
                    "manifold must be an estimator with transform and "
                    f"inverse_transform, got {self.manifold!r}, which has no {method}."
                )
        return seeded_clone(self.manifold, rng)

    def _parts(self, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return latents and residual of each row."""
        latents = self.manifold_.transform(rows)
        restored = np.asarray(self.manifold_.inverse_transform(latents))
        latents = np.asarray(latents)
        if latents.dtype != np.float32:
            latents = latents.astype(np.float64, copy=False)
        if restored.size != rows.size:
            raise ValueError(
                f"manifold.inverse_transform must give back rows of {rows.shape[1]} "
                f"features, as fit saw them, got an array of shape {restored.shape} "
                f"for {len(rows)} rows."
            )
        return latents, rows - restored.reshape(rows.shape)

    def _check_parts(self, latents: NDArray[Any], residuals: NDArray[Any]) -> None:
        if not (np.isfinite(latents).all() and np.isfinite(residuals).all()):
            raise ValueError(
                f"manifold must give finite latents and rows, got {self.manifold_!r}, "
                "which gives NaN or infinity for training rows. Scale X first."
            )

    def _part_scorer(self, rows: NDArray[Any]) -> MahalanobisScorer:
        scorer = MahalanobisScorer(
            covariance=self.covariance,
            ridge=self.ridge,
            contamination=self.contamination,
            calibration_fraction=self.calibration_fraction,
            random_state=0,
        )
        return scorer._learn_in_order(rows)

    def _distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        if self.false_alarm_rate is not None:
            return self._held_out_distances(rows)
        scorers = self.latent_scorer_, self.residual_scorer_
        found = _each(MahalanobisScorer._distances, scorers, self._parts(rows))
        return tippett(found, self._tails)

    def _held_out_distances(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        scorers = self.latent_scorer_, self.residual_scorer_
        parts = self._parts(rows)
        found = _each(MahalanobisScorer._held_out_distances, scorers, parts)
        return tippett(found, self._held_out_tails)

    def _calibration(self) -> NDArray[np.float64]:
        return self._calibration_distances

    def _check_parameters(self) -> None:
        check_choice("covariance", self.covariance, COVARIANCES)
        check_real("ridge", self.ridge, 0.0, 1.0)
        self._check_threshold()


def _each(
    distances: Callable[[MahalanobisScorer, NDArray[Any]], NDArray[np.float64]],
    scorers: tuple[MahalanobisScorer, MahalanobisScorer],
    parts: tuple[NDArray[Any], NDArray[Any]],
) -> NDArray[np.float64]:
    """Return the distance of latents and of residuals, (n_samples, 2)."""
    pairs = zip(scorers, parts, strict=True)
    return np.stack([distances(scorer, rows) for scorer, rows in pairs], axis=1)


def _left_out(
    laws: list[list[Law]], distances: NDArray[np.float64], n_samples: int
) -> NDArray[np.float64]:
    """Return distances as if each row had been left out of the covariances."""
    shrinkages = [law.factors[0].shrinkage for (law,) in laws]
    columns = zip(distances.T, shrinkages, strict=True)
    found = [leave_one_out(column, n_samples, weight) for column, weight in columns]
    return np.stack(found, axis=1)
