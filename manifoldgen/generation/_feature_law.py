"""The law of the features that rows are made for: fitted and drawn within epsilon."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from ..constraints import MahalanobisConstraint, feature_module
from ..nn import map_rows
from ._drawing import draw_rows

_FEATURES = 32  # of those that are made where none are given, at most
_RADII = 512


def given_features(
    features: Any, rows: NDArray[Any], device: str
) -> NDArray[np.float64]:
    """Return the features of rows, one row's the same bits in any batch."""
    module = feature_module(features)
    on_mps = torch.device(device).type == "mps"
    dtype = np.float32 if on_mps else np.float64
    module = (module.float() if on_mps else module).to(device)
    found = map_rows(module, rows, device, lambda part: part.astype(dtype))
    return found.astype(np.float64)


def default_features(constraint: MahalanobisConstraint, rows: NDArray[Any]) -> PCA:
    """Return unfitted features that leave the decoder of a row something to learn."""
    n_fitted = int((1.0 - constraint.calibration_fraction) * len(rows))
    return PCA(max(1, min(_FEATURES, rows.shape[1] // 2, n_fitted // 2)))


class FeatureLaw:
    """Features that a generator draws, at distances like those of rows of data.

    Parameters
    ----------
    generator : estimator
        With `fit` and `sample`, which draws by label where there are `classes`.
    constraint : MahalanobisConstraint
        Fitted; what distances are measured by. With ``multiplier=0.0`` none are kept.
    classes : ndarray of shape (n_classes,) or None, default=None
        Labels, for which codes stand by position.
    radii : tuple of two ndarray of shape (n_quantiles,), or None, default=None
        Quantiles of the distances of what is drawn, and of data, on which those are
        mapped. None leaves distances as they are.
    """

    def __init__(
        self,
        generator: Any,
        constraint: MahalanobisConstraint,
        classes: NDArray[Any] | None = None,
        radii: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    ) -> None:
        self.generator, self.constraint = generator, constraint
        self.classes, self.radii = classes, radii

    @property
    def is_held(self) -> bool:
        """Whether features are kept within epsilon."""
        return self.constraint.multiplier != 0.0

    def fit(
        self, given: NDArray[np.float64], codes: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Fit the generator on the features within epsilon, and return their distances.

        Parameters
        ----------
        given : ndarray of shape (n_samples, n_given)
        codes : ndarray of shape (n_samples,) or None
            Classes, of which the two nearest rows each are always among them.

        Returns
        -------
        distances : ndarray of shape (n_inside,)
        """
        self.radii = None
        distances = self.distances(given, codes)
        inside = np.ones(len(given), dtype=bool)
        if self.is_held:
            inside = distances <= self.constraint.epsilon_
            groups = np.zeros(len(given), np.int64) if codes is None else codes
            for code in np.unique(groups):
                mine = np.flatnonzero(groups == code)
                inside[mine[np.argsort(distances[mine], kind="stable")[:2]]] = True
        if codes is None or self.classes is None:
            self.generator = self.generator.fit(given[inside])
        else:
            labels = self.classes[codes[inside]]
            self.generator = self.generator.fit(given[inside], labels)
        return distances[inside]

    def match(
        self,
        distances: NDArray[np.float64],
        n_draws: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> None:
        """Map distances of draws, of classes at `codes` if any, on those of data."""
        shares = (np.arange(_RADII) + 0.5) / _RADII
        drawn = self.distances(self.draw(n_draws, codes, rng), codes)
        wanted = np.minimum(distances, self.constraint.epsilon_)
        self.radii = np.quantile(drawn, shares), np.quantile(wanted, shares)

    def draw(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float64]:
        """Return features (n_samples, n_given), of classes at `codes` if any."""
        y = None if codes is None or self.classes is None else self.classes[codes]
        drawn = draw_rows(self.generator, n_samples, y, rng, "law of features")
        given = np.asarray(drawn, dtype=np.float64)
        if self.radii is None:
            return given
        centers = self._centers(given, codes)
        radii = self.distances(given, codes)
        wanted = np.interp(radii, *self.radii)
        apart = radii > 0
        share = np.divide(wanted, radii, out=np.ones_like(radii), where=apart)
        return centers + (given - centers) * share[:, np.newaxis]

    def distances(
        self, given: NDArray[np.float64], codes: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Return distances of features to their classes, or to the nearest location."""
        squared = self.constraint._squared_distances(given)
        at = self.locations_of(codes)
        if at is None:
            return np.sqrt(squared.min(axis=1))
        return np.sqrt(squared[np.arange(len(given)), at])

    def locations_of(self, codes: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        """Return which location each class is measured to, None for the nearest."""
        return codes if self.constraint.class_conditional else None

    def _centers(
        self, given: NDArray[np.float64], codes: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Return the locations that distances are measured to."""
        at = self.locations_of(codes)
        if at is None:
            at = self.constraint._squared_distances(given).argmin(axis=1)
        return self.constraint.location_[at]
