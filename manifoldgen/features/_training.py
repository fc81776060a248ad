"""What extractors that are trained here share: images of a batch, epochs, checks."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._arrays import column_moments, standardize
from .._validation import check_choice, check_int, check_real, check_sizes
from ..nn import ACTIVATIONS, augment, check_augment
from ..training import OPTIMIZERS, Outcome
from ._base import FeatureTransformer

Change = Callable[[Tensor, torch.Generator], Tensor]


def check_trained(estimator: Any) -> None:
    """Check the parameters of networks and training, those of `features` aside."""
    check_int("n_features", estimator.n_features)
    check_sizes("channels", estimator.channels)
    check_sizes("hidden_sizes", estimator.hidden_sizes)
    check_choice("activation", estimator.activation, ACTIVATIONS)
    check_choice("precision", estimator.precision, ("float32", "bf16"))
    check_choice("optimizer", estimator.optimizer, OPTIMIZERS)
    check_real("weight_decay", estimator.weight_decay, 0.0)
    if estimator.max_epochs is not None:
        check_int("max_epochs", estimator.max_epochs)
    estimator._check_features()
    estimator._check_training()


def check_images(name: str, estimator: FeatureTransformer) -> None:
    """Raise where `name` asks for changes of images, and rows are none."""
    if min(estimator.image_shape_[1:]) < 2:
        raise ValueError(
            f"{name} needs images of 2 by 2 pixels at least, got rows of shape "
            f"{estimator.image_shape_}. Pass image_shape=(channels, height, width) or "
            f"an (n, height, width) array, or set {name}=None."
        )


def n_epochs_of(
    max_epochs: int | None, n_rows: int, batch_size: int, n_steps: int, n_least: int
) -> int:
    """Return `max_epochs`, or where it is None what gives few rows `n_steps` steps.

    Examples
    --------
    >>> n_epochs_of(None, 60_000, 128, 1500, 6), n_epochs_of(None, 1_280, 128, 1500, 6)
    (6, 150)
    """
    if max_epochs is not None:
        return int(max_epochs)
    return max(n_least, math.ceil(n_steps / math.ceil(n_rows / batch_size)))


def learn_contrast(estimator: FeatureTransformer, rows: NDArray[Any]) -> None:
    """Fix mean and spread of all pixels, by which networks see images."""
    estimator._mean, estimator._std = (0.0,), (1.0,)
    if estimator._is_strip:
        return
    shift, scale = float(estimator.shift_[0]), float(estimator.scale_[0])
    means, stds = (np.asarray(it, np.float64) for it in column_moments(rows))
    mean, variance = float(means.mean()), float((stds**2).mean() + means.var())
    estimator._mean = ((mean - shift) / scale,)
    estimator._std = (variance**0.5 / scale or 1.0,)


def on_device(estimator: FeatureTransformer, rows: NDArray[Any]) -> Tensor:
    """Return rows on the device: bytes as they are, others in shares of the range."""
    if rows.dtype == np.uint8 and not estimator._is_strip:
        return torch.tensor(rows, device=estimator.device_)
    shares = standardize(rows, estimator.shift_, estimator.scale_)
    return torch.from_numpy(shares).to(estimator.device_)


def shares_of(estimator: FeatureTransformer) -> Callable[[Tensor], Tensor]:
    """Return what makes images in shares of the range of rows on the device."""
    shape, scale = estimator.image_shape_, float(estimator.scale_[0])

    def shares(rows: Tensor) -> Tensor:
        unit = rows.float() / scale if rows.dtype == torch.uint8 else rows
        return unit.reshape(-1, *shape)

    return shares


def changes_of(operations: Any) -> Change | None:
    """Return what changes images in shares of the range at random, or None."""
    strengths = check_augment(operations)
    if not any(strengths.values()):
        return None
    return lambda images, generator: augment(images, strengths, generator).clamp(0, 1)


def ends_unplanned(schedule: str, outcome: Outcome) -> bool:
    """Return whether training ended before its learning rate came to 0 as planned."""
    return schedule in ("constant", "plateau") or outcome.stopped_by == "max_time"
