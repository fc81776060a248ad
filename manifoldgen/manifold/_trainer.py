"""How maps are trained: units, landmarks, noise, epochs and the program."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import nn

from .._arrays import standardize
from .._random import draw_seed
from .._validation import check_int, check_real
from ..neighbors import nearest_neighbors
from ._autoencoder_program import Loss
from ._base import BaseManifold
from ._parametric_program import (
    Anchor,
    ParametricProgram,
    landmark_anchor,
    place_anchor,
)

WAVE_FREQUENCY = 3.0
"""Of the decoders of maps, in radians per spread of the map."""

_WIDE_WEIGHT = 100.0  # of the reconstruction, in units of the term of neighbours

_MIN_STEPS = 1000
_MIN_EPOCHS = 20
_LANDMARK_ROWS = 20_000  # more do not move the landmarks of a map
_SPACING_ROWS, _SPACING_QUERIES = 20_000, 500
_RADIUS = 0.7  # of the targets, in distances between landmarks


def check_map_parameters(manifold: Any, rows: NDArray[Any], goes_on: bool) -> None:
    """Check what all trained maps take."""
    for name in ("anchor_weight", "neighbor_weight", "reconstruction_weight"):
        value = getattr(manifold, name, None)
        if value is not None or name not in manifold._may_be_none:
            check_real(name, getattr(manifold, name, 0.0), 0.0)
    if hasattr(manifold, "n_landmarks"):
        check_int("n_landmarks", manifold.n_landmarks, 0, 4096)
    manifold._check_networks(rows, goes_on)


def n_epochs_of(max_epochs: int | None, n_rows: int, batch_size: int) -> int:
    """Return `max_epochs`, or where it is None what gives few rows enough steps.

    Examples
    --------
    >>> n_epochs_of(None, 60_000, 512), n_epochs_of(None, 150, 512)
    (20, 1000)
    """
    if max_epochs is not None:
        return int(max_epochs)
    n_batches = math.ceil(n_rows / batch_size)
    return max(_MIN_EPOCHS, math.ceil(_MIN_STEPS / n_batches))


def set_map_units(manifold: BaseManifold, Z: NDArray[Any]) -> NDArray[np.float32]:
    """Give networks a map of mean 0 and spread 1, and return it in these units."""
    known = np.isfinite(Z).all(axis=1)
    manifold._latent_shift = Z[known].mean(axis=0, dtype=np.float64)
    spread = Z[known].astype(np.float64) - manifold._latent_shift
    manifold._latent_scale = float(np.sqrt(np.square(spread).mean())) or 1.0
    return ((Z - manifold._latent_shift) / manifold._latent_scale).astype(np.float32)


def set_landmarks(
    manifold: Any, Z: NDArray[np.float32], rng: np.random.RandomState
) -> None:
    """Choose landmarks among coordinates in units of the networks, where they help.

    Landmarks are the centres of k-means, one for 4 rows at most. A network of the
    user's, and more than 3 dimensions, which landmarks cannot fill, have none.
    """
    manifold._landmarks, seed = None, draw_seed(rng)
    known = Z[np.isfinite(Z).all(axis=1)]
    if len(known) > _LANDMARK_ROWS:
        known = known[rng.choice(len(known), _LANDMARK_ROWS, replace=False)]
    distinct = np.unique(known, axis=0)
    count = min(manifold.n_landmarks, len(distinct) // 4)
    if count < 2 or Z.shape[1] > 3 or manifold.encoder is not None:
        return
    centers = KMeans(count, n_init=1, random_state=seed).fit(known).cluster_centers_
    manifold._landmarks = centers.astype(np.float32)
    manifold._landmark_radius = _RADIUS * gap_of(centers)


def anchor_of(manifold: BaseManifold) -> Anchor:
    """Return the term that teaches the encoder given coordinates."""
    return place_anchor if manifold._landmarks is None else landmark_anchor


def spread_landmarks(n_landmarks: int, n_components: int) -> NDArray[np.float32]:
    """Return points spread evenly over a ball in 1 to 3 dimensions, of spread 1.

    The golden-section spiral [H. Vogel, "A better way to construct the sunflower head",
    Mathematical Biosciences 44, 1979], on a line, a disc or the spheres of a ball.

    Examples
    --------
    >>> spread_landmarks(3, 1).ravel().astype(float).round(2).tolist()
    [-1.22, 0.0, 1.22]
    """
    i = np.arange(n_landmarks)
    share = (i + 0.5) / n_landmarks
    angle = i * math.pi * (3.0 - math.sqrt(5.0))
    if n_components == 1:
        points = 2.0 * share[:, np.newaxis] - 1.0
    elif n_components == 2:
        points = (
            np.column_stack([np.cos(angle), np.sin(angle)]) * np.sqrt(share)[:, None]
        )
    else:
        height = 2.0 * (i * math.sqrt(2.0) % 1.0) - 1.0
        ring = np.sqrt(1.0 - height**2)
        points = np.column_stack([ring * np.cos(angle), ring * np.sin(angle), height])
        points *= np.cbrt(share)[:, np.newaxis]
    points = points - points.mean(axis=0)
    return (points / np.sqrt(np.square(points).mean())).astype(np.float32)


def gap_of(landmarks: NDArray[Any]) -> float:
    """Return the median distance of a landmark to the nearest other."""
    return float(np.median(nearest_neighbors(landmarks, 1).distances))


def spacing_of(
    rows: NDArray[Any],
    shift: NDArray[Any],
    scale: NDArray[Any] | float,
    rng: np.random.RandomState,
) -> float:
    """Return the noise in each column that moves a row as far as its nearest other.

    The median distance of rows to the nearest other, ``(x - shift) / scale``, divided
    by the square root of the number of columns; of some 500 rows, among 20,000.
    """
    order = rng.permutation(len(rows))[:_SPACING_ROWS]
    X = standardize(rows[np.sort(order)], shift, scale)
    queries = X[:: max(1, len(X) // _SPACING_QUERIES)]
    gaps = nearest_neighbors(X, min(2, len(X)), queries=queries).distances[:, -1]
    apart = gaps[gaps > 0]
    return float(np.median(apart)) / math.sqrt(X.shape[1]) if len(apart) else 0.0


def map_program(
    manifold: Any,
    networks: dict[str, nn.Module],
    *,
    noise: float = 0.0,
    anchor: Anchor | None,
    neighborhood: Loss | None = None,
    latent_noise: float = 0.0,
    changed_target: bool = False,
) -> ParametricProgram:
    """Return the program that trains `networks` as the parameters of `manifold` say."""
    weight = manifold.reconstruction_weight
    if weight is None:
        weight = 0.0 if manifold.n_components_ <= 3 else _WIDE_WEIGHT
    return ParametricProgram(
        networks.get("encoder_"),
        networks["decoder_"],
        manifold._new_optimizer(networks),
        manifold._loss_function(),
        anchor_weight=getattr(manifold, "anchor_weight", 1.0),
        neighbor_weight=getattr(manifold, "neighbor_weight", 0.0),
        reconstruction_weight=weight,
        anchor=anchor,
        neighborhood=neighborhood,
        noise=noise,
        latent_noise=latent_noise,
        prepare=manifold._units_on_device() if manifold._is_uint8 else None,
        augment=manifold._augment_on_device(),
        changed_target=changed_target,
        half=manifold.precision == "bf16",
        foreign=manifold._is_foreign,
    )
