"""Features that distances are measured in: as modules, and fitted."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ..base import seeded_clone
from ..nn.affine import Affine, Clamp


def feature_module(estimator: Any) -> nn.Module:
    """Return a network that maps rows to what a fitted transformer returns for them.

    Parameters
    ----------
    estimator : None, transformer or Pipeline
        Fitted: StandardScaler, MinMaxScaler or PCA of scikit-learn; a manifold or
        features of this package, or anything else with a method ``to_module()``, whose
        module takes float64 too; a Pipeline or FrozenEstimator of such. None, and
        "passthrough", keep rows.

    Returns
    -------
    module : torch.nn.Module
        In evaluation mode, with weights that stay; differentiable in the rows, a float
        tensor of shape (n_samples, n_features) in the units that `fit` saw.

    Raises
    ------
    TypeError
        If there is no such network of `estimator`; the message names those that have.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklearn.preprocessing import StandardScaler
    >>> from manifoldgen import feature_module
    >>> X = np.array([[0.0, 1.0], [2.0, 5.0]])
    >>> feature_module(StandardScaler().fit(X))(torch.tensor(X))
    tensor([[-1., -1.],
            [ 1.,  1.]], dtype=torch.float64)
    """
    if isinstance(estimator, FrozenEstimator):
        return feature_module(estimator.estimator)
    if isinstance(estimator, Pipeline):
        steps = [feature_module(step) for _, step in estimator.steps]
        return nn.Sequential(*steps).eval()
    if estimator is None or (isinstance(estimator, str) and estimator == "passthrough"):
        return nn.Identity()
    if callable(getattr(estimator, "to_module", None)):
        module: nn.Module = estimator.to_module()
    else:
        module = _affine_module(estimator)
    return module.eval().requires_grad_(False)


def _affine_module(estimator: Any) -> nn.Module:
    """Return what a fitted scaler or PCA of scikit-learn does."""
    if isinstance(estimator, StandardScaler):
        check_is_fitted(estimator)
        width = estimator.n_features_in_
        mean = estimator.mean_ if estimator.with_mean else np.zeros(width)
        scale = estimator.scale_ if estimator.with_std else np.ones(width)
        return Affine(as_float64(mean), as_float64(1.0 / scale))
    if isinstance(estimator, MinMaxScaler):
        check_is_fitted(estimator)
        offset = as_float64(estimator.min_)
        scale = as_float64(estimator.scale_)
        mapped = Affine(torch.zeros_like(offset), scale, offset)
        if not estimator.clip:
            return mapped
        return nn.Sequential(mapped, Clamp(*map(float, estimator.feature_range)))
    if isinstance(estimator, PCA):
        check_is_fitted(estimator)
        axes = np.asarray(estimator.components_, np.float64).T
        if estimator.whiten:
            variances = np.asarray(estimator.explained_variance_, np.float64)
            axes = axes / np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
        return Affine(as_float64(estimator.mean_), as_float64(axes))
    raise TypeError(
        "features must be None, a StandardScaler, MinMaxScaler or PCA, a manifold or "
        "features of manifoldgen, anything else with to_module(), or a Pipeline or "
        f"FrozenEstimator of these, got {estimator!r}: its slopes are not known."
    )


def as_float64(values: Any) -> Tensor:
    return torch.tensor(np.ascontiguousarray(values), dtype=torch.float64)


def features_of(features: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """Return features as float rows."""
    found = rows if features is None else np.asarray(features.transform(rows))
    if found.ndim != 2:
        raise ValueError(
            "features must map rows to rows of numbers, got an array of shape "
            f"{found.shape}."
        )
    kept = found.dtype in (np.float32, np.float64)
    return found if kept else found.astype(np.float64)


def fitted_features(
    features: Any,
    rows: NDArray[Any],
    labels: NDArray[Any] | None,
    rng: np.random.RandomState,
    shape: tuple[int, ...] | None,
) -> Any:
    """Return the features, a clone fitted on `rows` where they are not frozen."""
    if features is None:
        return None
    if isinstance(features, FrozenEstimator):
        feature_module(features)
        return features
    if not hasattr(features, "fit") or not hasattr(features, "transform"):
        raise TypeError(
            "features must be None, a transformer, or a FrozenEstimator of a fitted "
            f"one, got {features!r}."
        )
    part = seeded_clone(features, rng)
    first = part
    while isinstance(first, Pipeline):
        first = first.steps[0][1]
    if shape is not None and getattr(first, "image_shape", shape) is None:
        first.set_params(image_shape=shape if len(shape) == 3 else (1, *shape))
    part = part.fit(rows, labels) if needs_labels(part) else part.fit(rows)
    feature_module(part)
    return part


def needs_labels(features: Any) -> bool:
    """Return whether features, or a step of a Pipeline of them, are fitted on labels.

    A Pipeline itself says what its last step needs.
    """
    if isinstance(features, Pipeline):
        return any(needs_labels(step) for _, step in features.steps)
    if not hasattr(features, "fit") or isinstance(features, FrozenEstimator):
        return False  # None, "passthrough", or fitted
    return bool(get_tags(features).target_tags.required)
