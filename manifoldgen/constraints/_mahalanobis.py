"""A Mahalanobis distance that what is made is held to, by its parameters."""

import warnings
from collections.abc import Callable
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import rq
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from .._arrays import flatten_images
from .._conditional import check_labels_of_rows, every_class_kept
from .._random import random_state_of
from .._validation import check_bool, check_choice, check_real
from ..base import unchanged_on_error
from ..covariance import class_moments, factor, moments, squared_distances
from ..covariance._factors import KINDS
from ..exceptions import ConstraintWarning
from ..nn.constraints import FORMS, DistanceConstraint, MahalanobisDistance
from ._features import as_float64, feature_module, features_of, fitted_features

_UNITS = ("quantile", "distance", "pvalue")
_LAW_POINTS = 256
LEAST_ROWS = 4
"""Rows that a constraint is learned from, at least."""


class MahalanobisConstraint(BaseEstimator):
    r"""Keep what an estimator makes within a distance of its training rows.

    As ``constraint=`` of `AutoencoderManifold`, `LatentGAN` or `LatentFlowMatching` it
    asks, beside what they minimise, that

    .. math:: P(D(\phi(x)) > \epsilon) \le \mathrm{tolerance}, \quad
              D^2(f) = (f - \mu)^T \Sigma^{-1} (f - \mu)

    for the rows x that they make, with features phi of them and the mean and covariance
    of the features of training rows. A multiplier finds the weight that this takes. It
    rises while the share of rows beyond epsilon is above the tolerance, and falls to 0
    where the constraint is kept anyway; there is no weight to sweep. Epsilon is set by
    rows that mean and covariance do not know.

    Rows are what the estimator gets: behind a manifold in a Pipeline a generator makes
    latents, whose features and distances these then are, not those of decoded images.

    Fitted by itself it measures how often rows of any origin are beyond epsilon.

    Parameters
    ----------
    features : transformer or None, default=None
        What rows are measured by: an unfitted transformer, of which a clone is fitted
        on the training rows (and labels, where it requires them), or a
        `sklearn.frozen.FrozenEstimator` of a fitted one. See `feature_module` for what
        it may be. None measures the rows as they are; for columns of several units
        put a StandardScaler.
    epsilon : float, default=0.95
        How far is too far, in `unit`.
    unit : {"quantile", "distance", "pvalue"}, default="quantile"
        "quantile" is that quantile of the distances of held-out training rows, in
        (0, 1); "distance" a distance, > 0; "pvalue" the distance with that conformal
        p-value, so that a fresh row is as far with that probability, in (0, 1).
    form : {"quantile", "hinge", "mean"}, default="quantile"
        What made rows descend. "quantile": the mean of ``D²/epsilon² - 1`` over the
        farthest share `tolerance`; "hinge": the mean over all rows of its positive
        part, which has more of a slope in a small batch; "mean": the mean over all
        rows, of which no more than 0 is then asked, whatever the share beyond epsilon.
    tolerance : float, default=None
        Share of made rows that may be beyond epsilon, in (0, 1). None is that of
        held-out training rows, with a warning where it is more than half of them.
    two_sided : bool, default=False
        Whether distances inside epsilon are to be distributed as those of training rows
        are, too: against samples that all crowd about the mean.
    covariance : str, default="oas"
        "oas", "ledoit_wolf", "empirical", "diagonal", "ppca" or "low_rank"; see
        `manifoldgen.covariance.factor`.
    class_conditional : bool, default=False
        Measure to the mean of a class, with the covariance within classes: to that
        which a row is made for, where a generator is conditional, else to the nearest.
        Needs y in `fit`.
    calibration_fraction : float, default=0.2
        Share of the training rows that are held out to set epsilon, in (0, 1).
    multiplier : float, default=None
        Holds the multiplier at this weight, >= 0, instead of learning it: a penalty.
    penalty : float, default=1.0
        What the share beyond the tolerance is worth at once, besides the multiplier,
        >= 0.
    step : float, default=0.02
        How fast the multiplier lambda moves, >= 0: in a gradient step by
        ``step * (lambda + 0.1)`` at most, which is where the share of rows beyond
        epsilon is 0 or twice the tolerance. From 0 to 1 that takes ``log(11) / step``
        gradient steps, 120 by default; a training of fewer needs a larger one.
    random_state : int, RandomState or None, default=None
        Chooses the held-out rows and seeds the features. As ``constraint=`` the seed is
        that of the estimator.

    Attributes
    ----------
    features_ : transformer or None
        The fitted features.
    epsilon_ : float
        The distance.
    tolerance_ : float
        The share.
    multiplier_ : float
        Weight of the constraint that training ended with; 0 is none.
    location_ : ndarray of shape (n_classes, n_features_out), float64
        Means of the features; one row without classes.
    whitening_ : ndarray of shape (n_features_out, n_features_out), float64
        Upper triangular W with ``W Wᵀ`` the inverse of the covariance.
    calibration_distances_ : ndarray of shape (n_held_out,), float64
        Distances of the held-out rows, ascending.
    classes_ : ndarray of shape (n_classes,)
        Labels, where `class_conditional`.
    n_features_in_ : int
        Number of columns of the rows.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 4 rows, features that are
        all constant, `class_conditional` without y.
    TypeError
        By `fit`: features that slopes cannot be taken of.

    References
    ----------
    .. [1] A. Cotter et al., "Optimization with non-differentiable constraints with
       applications to fairness, recall, churn, and other goals", JMLR 20, 2019,
       arXiv:1809.04198, section 4. We differ in a multiplier for one constraint that
       looks at a running average.
    .. [2] R. T. Rockafellar, S. Uryasev, "Optimization of conditional value-at-risk",
       Journal of Risk 2, 2000, Eq. (4).

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import LatentGAN, MahalanobisConstraint
    >>> X = np.random.default_rng(0).standard_normal((500, 2))
    >>> held = MahalanobisConstraint(random_state=0).fit(X)
    >>> held.violation_rate(3 * X) > 0.5
    True
    >>> gan = LatentGAN(max_epochs=20, constraint=held, random_state=0).fit(X)
    >>> gan.constraint_.violation_rate(gan.sample(1000, random_state=0)) < 0.15
    True
    """

    def __init__(
        self,
        features: Any = None,
        *,
        epsilon: float = 0.95,
        unit: Literal["quantile", "distance", "pvalue"] = "quantile",
        form: Literal["quantile", "hinge", "mean"] = "quantile",
        tolerance: float | None = None,
        two_sided: bool = False,
        covariance: str = "oas",
        class_conditional: bool = False,
        calibration_fraction: float = 0.2,
        multiplier: float | None = None,
        penalty: float = 1.0,
        step: float = 0.02,
        random_state: Any = None,
    ) -> None:
        self.features = features
        self.epsilon = epsilon
        self.unit = unit
        self.form = form
        self.tolerance = tolerance
        self.two_sided = two_sided
        self.covariance = covariance
        self.class_conditional = class_conditional
        self.calibration_fraction = calibration_fraction
        self.multiplier = multiplier
        self.penalty = penalty
        self.step = step
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn mean and covariance of the features of `X`, and set epsilon.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
        y : array-like of shape (n_samples,), default=None
            Labels, where `class_conditional` or where the features require them.

        Returns
        -------
        self : MahalanobisConstraint
        """
        with unchanged_on_error(self):
            rows, shape = flatten_images(X)
            dtype = [np.float64, np.float32, np.uint8]
            checked = validate_data(
                self, rows, dtype=dtype, ensure_min_samples=LEAST_ROWS
            )
            self._learn(checked, y, random_state_of(self.random_state), shape)
        return self

    def distances(self, X: Any, y: Any = None) -> NDArray[np.float64]:
        """Return the Mahalanobis distance of the features of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
        y : array-like of shape (n_samples,), default=None
            Classes to measure to, where `class_conditional`; None measures to the
            nearest.

        Returns
        -------
        distances : ndarray of shape (n_samples,), float64
            Dimensionless.
        """
        check_is_fitted(self)
        dtype = [np.float64, np.float32, np.uint8]
        rows = validate_data(self, flatten_images(X)[0], reset=False, dtype=dtype)
        return self._distances(rows, None if y is None else self._codes_of(y, rows))

    def violation_rate(self, X: Any, y: Any = None) -> float:
        """Return the share of the rows of `X` that are farther than `epsilon_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
        y : array-like of shape (n_samples,), default=None
            As for `distances`.

        Returns
        -------
        rate : float
            In [0, 1].
        """
        return float((self.distances(X, y) > self.epsilon_).mean())

    def _codes_of(self, y: Any, rows: NDArray[Any]) -> NDArray[np.int64]:
        if not hasattr(self, "classes_"):
            raise ValueError(
                "y was given to a constraint that knows no classes. Set "
                "class_conditional=True and fit it on X and y, or leave y out."
            )
        labels = check_labels_of_rows(y, len(rows))
        unknown = sorted(set(labels.tolist()) - set(self.classes_.tolist()))
        if unknown:
            raise ValueError(
                f"y must hold labels that fit saw, {self.classes_.tolist()}, got "
                f"{unknown}."
            )
        return np.searchsorted(self.classes_, labels)

    def _learn(
        self,
        rows: NDArray[Any],
        y: Any,
        rng: np.random.RandomState,
        shape: tuple[int, ...] | None = None,
        labelled: bool = False,
    ) -> None:
        """Learn from `rows`, images of `shape` if any.

        `labelled` says whether made rows come with their class; else epsilon is for
        distances to the nearest.
        """
        self._check_parameters()
        codes = self._learn_labels(y, len(rows))
        order = rng.permutation(len(rows))
        n_held = max(1, round(self.calibration_fraction * len(rows)))
        n_held = min(n_held, len(rows) - 2)
        kept, held = every_class_kept(np.sort(order[n_held:]), order[:n_held], codes)
        if codes is not None and (not len(held) or len(kept) <= codes.max() + 1):
            raise ValueError(
                "class_conditional=True needs rows beside one of each class, to hold "
                f"out and to take a covariance of, got {len(rows)} rows of "
                f"{codes.max() + 1} classes. Fit on more rows, or set "
                "class_conditional=False."
            )
        labels = None if y is None else np.asarray(y)[kept]
        self.features_ = fitted_features(self.features, rows[kept], labels, rng, shape)
        self._set_law(rows[kept], None if codes is None else codes[kept])
        codes_held = codes[held] if codes is not None and labelled else None
        distances = np.sort(self._distances(rows[held], codes_held))
        self.calibration_distances_ = distances
        self.epsilon_ = self._epsilon(distances)
        self.tolerance_ = self._tolerance(distances)
        self.multiplier_ = float(self.multiplier or 0.0)
        self._law_multiplier = 0.0

    def _learn_labels(self, y: Any, n: int) -> NDArray[np.int64] | None:
        self.__dict__.pop("classes_", None)
        if not self.class_conditional:
            return None
        labels = check_labels_of_rows(y, n, "class_conditional")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        return codes

    def _set_law(self, rows: NDArray[Any], codes: NDArray[np.int64] | None) -> None:
        """Set mean, or means of classes, and whitening of the features of `rows`."""
        features = features_of(self.features_, rows)
        fourth = self.covariance == "ledoit_wolf"
        if codes is None:
            total = moments(features, fourth=fourth)
            location = total.mean[np.newaxis]
        else:
            classes = class_moments(features, codes, fourth=fourth)
            total, location = classes.tied, classes.means
        if not total.scatter.diagonal().any():
            raise ValueError(
                "features must vary over the training rows, got "
                f"{features.shape[1]} that are all constant. Choose other features."
            )
        found = factor(total, self.covariance)
        self.location_ = location
        self.whitening_ = _triangular(found.whitening())

    def _epsilon(self, distances: NDArray[np.float64]) -> float:
        if self.unit == "distance":
            return float(self.epsilon)
        if self.unit == "quantile":
            return float(np.quantile(distances, self.epsilon))
        n_beyond = int(self.epsilon * (len(distances) + 1) + 1e-9)
        if n_beyond < 1:
            raise ValueError(
                f"epsilon must be a p-value of at least 1 / {len(distances) + 1} for "
                f"{len(distances)} held-out rows, got {self.epsilon!r}. Raise it or "
                "calibration_fraction."
            )
        return float(distances[-n_beyond])

    def _tolerance(self, distances: NDArray[np.float64]) -> float:
        if self.tolerance is not None:
            return float(self.tolerance)
        if self.unit == "quantile":
            return 1.0 - float(self.epsilon)
        if self.unit == "pvalue":
            return float(self.epsilon)
        n_beyond = (distances > self.epsilon_).sum()
        share = float(n_beyond + 1) / (len(distances) + 2)  # never 0 or 1
        if share > 0.5:
            warnings.warn(
                f"epsilon={self.epsilon!r} is a distance that {share:.1%} of the "
                "held-out rows are beyond, and with tolerance=None as many of the made "
                "rows may be: little is held. Set tolerance, or raise epsilon.",
                ConstraintWarning,
                stacklevel=4,
            )
        return share

    def _distances(
        self, rows: NDArray[Any], codes: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        squared = self._squared_distances(features_of(self.features_, rows))
        if codes is None:
            return np.sqrt(squared.min(axis=1))
        return np.sqrt(squared[np.arange(len(codes)), codes])

    def _squared_distances(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return squared distances of features to each location, (n, n_locations)."""
        return np.column_stack(
            [squared_distances(features, it, self.whitening_) for it in self.location_]
        )

    def _feature_network(self, device: str) -> nn.Module:
        """Return what maps rows in units of the data to features, with slopes."""
        network: nn.Module = _moved(feature_module(self.features_), device)
        return network

    def hold(
        self,
        device: str,
        to_data: Callable[[Tensor], Tensor] | None = None,
        *,
        features: Callable[[Tensor], Tensor] | None = None,
    ) -> DistanceConstraint:
        """Return what holds made rows in training.

        Parameters
        ----------
        device : str
        to_data : callable, default=None
            Maps made rows, as networks return them, to the units of the rows of `fit`,
            with gradients. None says that they have them.
        features : callable, default=None
            Maps rows in these units to features; None is `feature_module` of
            `features_`. `torch.nn.Identity()` holds features that are at hand.

        Returns
        -------
        held : DistanceConstraint
            Its multipliers go on from `multiplier_`.
        """
        check_is_fitted(self)
        # products of whitened features are as exact as the slopes of networks
        distance = MahalanobisDistance(
            as_float64(self.location_), as_float64(self.whitening_).float()
        )
        known = features or self._feature_network(device)
        law = None
        if self.two_sided and (points := self._law_points()) is not None:
            law = torch.tensor(points, dtype=torch.float32, device=device)
        held = DistanceConstraint(
            known if to_data is None else lambda rows: known(to_data(rows)),
            _moved(distance, device),
            epsilon=self.epsilon_,
            tolerance=self.tolerance_,
            form=self.form,
            law=law,
            fixed=self.multiplier is not None,
            multiplier=self.multiplier_,
            law_multiplier=self._law_multiplier,
            penalty=self.penalty,
            step=self.step,
        )
        held.multipliers.to(device)
        return held

    def _law_points(self) -> NDArray[np.float64] | None:
        """Return distances as of training rows, of which `tolerance_` are beyond."""
        distances, tolerance = self.calibration_distances_, self.tolerance_
        inside = distances[distances <= self.epsilon_]
        beyond = distances[distances > self.epsilon_]
        if len(inside) < 2:
            return None
        n_beyond = round(tolerance * _LAW_POINTS) if len(beyond) else 0
        counts = _LAW_POINTS - n_beyond, n_beyond
        parts = [
            np.quantile(part, (np.arange(n) + 0.5) / n)
            for part, n in zip((inside, beyond), counts, strict=True)
            if n
        ]
        return np.concatenate(parts)

    def _check_parameters(self) -> None:
        check_choice("unit", self.unit, _UNITS)
        if self.unit == "distance":
            check_real("epsilon", self.epsilon, 0.0, closed="neither")
        else:
            hint = "A distance is given with unit='distance'."
            check_real("epsilon", self.epsilon, 0.0, 1.0, closed="neither", hint=hint)
        check_choice("form", self.form, FORMS)
        if self.tolerance is not None:
            check_real("tolerance", self.tolerance, 0.0, 1.0, closed="neither")
        check_bool("two_sided", self.two_sided)
        check_choice("covariance", self.covariance, KINDS)
        check_bool("class_conditional", self.class_conditional)
        fraction = self.calibration_fraction
        check_real("calibration_fraction", fraction, 0.0, 1.0, closed="neither")
        for name in ("multiplier", "penalty", "step"):
            if name != "multiplier" or self.multiplier is not None:
                check_real(name, getattr(self, name), 0.0)


def _moved(module: nn.Module, device: str) -> Any:
    """Return a module on `device`, in float32 where that has no float64."""
    narrow = torch.device(device).type == "mps"
    return (module.float() if narrow else module).to(device)


def _triangular(whitening: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an upper triangular matrix that gives the same distances."""
    if not np.tril(whitening, -1).any():
        return whitening
    return cast(NDArray[np.float64], rq(whitening, mode="r"))
