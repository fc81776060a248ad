"""The Gaussian mixture as a generator: exact, fast, and conditional where asked."""

import warnings
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning

from .._arrays import column_moments, unstandardize, warn_of_coarse_columns
from .._conditional import ConditionalMixin
from .._random import draw_seed, random_state_of
from .._threads import narrow_blas
from .._validation import check_choice, check_int, check_real
from ..base import RowsMixin, SamplerMixin, unchanged_on_error
from ..covariance import squared_distances
from ._density import LogDensityMixin
from ._expectation_maximization import (
    N_COVARIANCE_PARAMETERS,
    Components,
    Fit,
    begin,
    chosen_components,
    climb,
    drawn_rows,
    precision_root,
    search,
)
from ._whitening import whitening_axes

_TRIAL_STEPS = 10
_TRIAL_ROWS = 50_000
_MOST_COMPONENTS = 512


class LatentMixture(
    ConditionalMixin,
    RowsMixin,
    LogDensityMixin,
    SamplerMixin,
    DensityMixin,
    BaseEstimator,
):
    r"""Generate rows like those of `fit` from a mixture of Gaussians.

    .. math:: p(x) = \sum_k w_k \, \mathcal{N}(x;\, \mu_k, \Sigma_k)

    It is fitted in seconds by expectation-maximization, it has an exact log-density,
    and without `n_components` the number of Gaussians follows from the data, as the
    one with the lowest Bayesian information criterion [1]_. A generator with networks
    follows curved distributions more closely, given minutes. "Latent" is where it
    shines, last in a Pipeline after a manifold; any numeric rows will do, up to a few
    hundred columns.

    Parameters
    ----------
    n_components : int or None, default=None
        Gaussians, of each class where `conditional`; None chooses the number, class by
        class.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        "full" gives each Gaussian a covariance of its own and "tied" all the same one.
        "diag" and "spherical" are along the principal axes of all rows, in units of
        the spread along each.
    max_components : int or None, default=None
        The most Gaussians that are tried; None is one for as many rows as there are
        columns and one more, and 512 at most.
    regularization : float, default=1.0
        By how many rows that follow the covariance pooled over all Gaussians, and in
        part that of all rows, each one's own is steadied, >= 0. With 0 it is the one
        of maximum likelihood. In either case no variance is less than 1e-9 of that of
        all rows, in any direction.
    conditional : bool, default=False
        Learn p(x | y) of the discrete labels given to `fit`, two rows a class at
        least: one mixture a class.
    n_init : int, default=1
        Starts by k-means++, of which the likeliest goes on.
    max_iter : int, default=100
        Steps of expectation and maximization, at most.
    tol : float, default=1e-3
        Gain in nats a row below which the steps end.
    random_state : int, RandomState or None, default=None
        Seed of the starts.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components_,), float64
        They add up to 1, over all classes too.
    means_ : ndarray of shape (n_components_, n_features), float64
    covariances_ : ndarray of shape (n_components_, n_features, n_features), float64
        In the units of the data, zero in constant columns.
    component_codes_ : ndarray of shape (n_components_,), int64
        Whose class each Gaussian is, as a position in `classes_`; 0 where not
        conditional.
    n_components_ : int
        Gaussians of all classes together.
    bic_ : dict
        The criterion of each number tried, in nats, low is good; empty where
        `n_components` is given. Where conditional a dict of such dicts, by label.
    n_iter_ : int
        Steps taken, the most of any class.
    classes_ : ndarray of shape (n_classes,)
        Labels, where conditional.
    class_prior_ : ndarray of shape (n_classes,), float64
        Share of each label in training, where conditional.
    mean_, scale_ : ndarray of shape (n_features,), float64
        Mean and standard deviation of the columns; constant columns have scale 0 and
        are sampled as the constant.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows, more Gaussians than
        rows, ``conditional`` without labels or with a class of one row. By `sample`:
        labels asked of an unconditional model, or labels that `fit` did not see.

    References
    ----------
    .. [1] C. Fraley, A. Raftery, "Model-based clustering, discriminant analysis, and
           density estimation", JASA 97(458), 2002, Sections 2.2 and 2.4. We differ in
           covariances that borrow from each other, and look at some numbers of
           Gaussians, not at all: doubled ones, then halves of the gaps.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import LatentMixture
    >>> rng = np.random.RandomState(0)
    >>> X = rng.standard_normal((600, 2)) + np.repeat([[0.0], [9.0], [99.0]], 200, 0)
    >>> mixture = LatentMixture(random_state=0).fit(X)
    >>> mixture.n_components_
    3
    >>> mixture.sample(5, random_state=0).shape
    (5, 2)
    >>> bool(mixture.score(X) > mixture.score(X + 3.0))
    True
    """

    weights_: NDArray[np.float64]
    means_: NDArray[np.float64]

    def __init__(
        self,
        n_components: int | None = None,
        *,
        covariance_type: str = "full",
        max_components: int | None = None,
        regularization: float = 1.0,
        conditional: bool = False,
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.max_components = max_components
        self.regularization = regularization
        self.conditional = conditional
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn to generate rows like those of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Discrete labels where `conditional`, else ignored.

        Returns
        -------
        self : estimator
        """
        with unchanged_on_error(self):
            rows = self._validate_rows(X, reset=True, n_min=2)
            self._check_parameters()
            codes = self._learn_labels(y, len(rows))
            groups = [np.arange(len(rows))]
            if codes is not None:
                groups = [np.flatnonzero(codes == c) for c in range(self._n_classes)]
            self._check_count(min(map(len, groups)))
            rng = random_state_of(self.random_state)
            rng = np.random.RandomState(draw_seed(rng))
            units = self._set_units(rows)
            forward, back = whitening_axes(units)
            with narrow_blas(units.shape[1]):
                white = units @ forward
            lengths = np.linalg.norm(back, axis=1)
            found = [self._fit_rows(white[group], lengths, rng) for group in groups]
            self._warn_unconverged([fit for fit, _ in found])
            self._keep([fit for fit, _ in found], forward, back)
            self.bic_ = self._criteria([table for _, table in found], groups, forward)
        return self

    def _log_density(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.full(len(units), -np.inf)
        for weight, mean, root in zip(
            self.weights_, self._unit_means, self._unit_roots, strict=True
        ):
            peak = np.log(weight) + np.log(root.diagonal()).sum()
            peak -= 0.5 * len(root) * np.log(2.0 * np.pi)
            distances = squared_distances(units, mean, root)
            np.logaddexp(total, peak - 0.5 * distances, out=total)
        return total

    def _sample(
        self, n_samples: int, y: Any, rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        codes = self._codes_for(n_samples, y, rng)
        # a stream of its own, or the noise of a row would depend on n_samples
        chance = np.random.RandomState(draw_seed(rng)).random_sample(n_samples)
        varies = np.flatnonzero(self.scale_)
        noise = rng.standard_normal((n_samples, len(varies)))
        if codes is None:
            codes = np.zeros(n_samples, dtype=np.int64)
        mine = np.arange(codes.max() + 1)[:, None] == self.component_codes_
        chosen = chosen_components(chance, mine * self.weights_, codes)
        units = np.zeros((n_samples, len(self.scale_)))
        units[:, varies] = drawn_rows(noise, chosen, self._unit_means, self._unit_roots)
        X = unstandardize(units, self.mean_, self.scale_).astype(np.float32)
        return np.clip(X, 0.0, 255.0) if self._is_uint8 else X

    def _check_parameters(self) -> None:
        for name in ("n_components", "max_components"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name))
        check_choice("covariance_type", self.covariance_type, N_COVARIANCE_PARAMETERS)
        check_real("regularization", self.regularization, 0.0)
        check_int("n_init", self.n_init)
        check_int("max_iter", self.max_iter)
        check_real("tol", self.tol, 0.0)

    def _check_count(self, n_rows: int) -> None:
        hint = (
            f"Each {'class' if self.conditional else 'mixture'} needs a row for each."
        )
        if self.n_components is not None:
            check_int("n_components", self.n_components, 1, n_rows, hint)

    def _set_units(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return standardised rows, without constant columns."""
        self.mean_, self.scale_ = column_moments(rows)
        warn_of_coarse_columns(type(self).__name__, self.mean_, self.scale_)
        self._is_uint8 = rows.dtype == np.uint8
        active = self.scale_ > 0
        return (rows[:, active] - self.mean_[active]) / self.scale_[active]

    def _fit_rows(
        self,
        white: NDArray[np.float64],
        lengths: NDArray[np.float64],
        rng: np.random.RandomState,
    ) -> tuple[Fit, dict[int, float]]:
        """Return the mixture of the rows, and the criteria of the numbers tried."""
        kind, regularization = self.covariance_type, self.regularization

        def attempt(rows: NDArray[np.float64], k: int) -> Fit:
            starts = (
                begin(rows, k, kind, regularization, lengths, rng)
                for _ in range(self.n_init)
            )
            fits = [
                climb(rows, start, kind, regularization, _TRIAL_STEPS, self.tol)
                for start in starts
            ]
            return max(fits, key=lambda fit: fit.log_likelihood)

        d = white.shape[1]
        if d == 0:
            nothing = Components(np.ones(1), np.empty((1, 0)), np.empty((1, 0, 0)))
            return Fit(nothing, 0.0, 1, True), {}
        criteria: dict[int, float] = {}
        if self.n_components is not None:
            trial = attempt(white, self.n_components)
        else:
            looked_at = white
            if len(white) > _TRIAL_ROWS:
                order = rng.choice(len(white), _TRIAL_ROWS, replace=False)
                looked_at = white[np.sort(order)]
            most = self._most_components(len(looked_at), d)
            trial, criteria = search(looked_at, most, attempt, kind)
        left = max(self.max_iter - trial.n_iter, 1)
        fit = climb(white, trial.components, kind, regularization, left, self.tol)
        steps = trial.n_iter + fit.n_iter
        return replace(fit, n_iter=steps), criteria

    def _criteria(
        self,
        tables: list[dict[int, float]],
        groups: list[NDArray[np.int64]],
        forward: NDArray[np.float64],
    ) -> dict[Any, Any]:
        """Return the criteria of densities in the units of the data, by class."""
        volume = float(np.log(self.scale_[self.scale_ > 0]).sum())
        volume -= float(np.linalg.slogdet(forward)[1])
        found = [
            {k: v + 2.0 * volume * min(len(group), _TRIAL_ROWS) for k, v in t.items()}
            for t, group in zip(tables, groups, strict=True)
        ]
        if self.conditional:
            return dict(zip(self.classes_.tolist(), found, strict=True))
        return found[0]

    def _warn_unconverged(self, fits: list[Fit]) -> None:
        if not all(fit.converged for fit in fits):
            warnings.warn(
                f"max_iter={self.max_iter} steps ended while each still gained more "
                f"than tol={self.tol:g} nats a row. Raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _most_components(self, n_rows: int, n_columns: int) -> int:
        if self.max_components is not None:
            return min(n_rows, self.max_components)
        return max(1, min(n_rows // (n_columns + 1), _MOST_COMPONENTS))

    def _keep(
        self,
        fits: list[Fit],
        forward: NDArray[np.float64],
        back: NDArray[np.float64],
    ) -> None:
        """Store the mixtures of all classes as one, in the units of the data."""
        shares = self.class_prior_ if self.conditional else np.ones(1)
        parts = [fit.components for fit in fits]
        self.weights_ = np.concatenate(
            [share * part.weights for share, part in zip(shares, parts, strict=True)]
        )
        counts = [len(part.weights) for part in parts]
        self.component_codes_ = np.repeat(np.arange(len(parts)), counts)
        self.n_components_ = sum(counts)
        self.n_iter_ = max(fit.n_iter for fit in fits)
        self._unit_means = np.concatenate([part.means for part in parts]) @ back
        covariances = [c for part in parts for c in part.covariances]
        self._unit_roots = np.array([precision_root(c, forward) for c in covariances])
        varies = np.flatnonzero(self.scale_)
        scale = self.scale_[varies]
        n, d = self.n_components_, len(self.scale_)
        self.means_ = np.repeat(self.mean_[None], n, axis=0)
        self.means_[:, varies] += self._unit_means * scale
        self.covariances_ = np.zeros((n, d, d))
        for k, covariance in enumerate(covariances):
            inside = back.T @ covariance @ back * np.outer(scale, scale)
            self.covariances_[k][np.ix_(varies, varies)] = inside
