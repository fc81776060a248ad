"""Random changes of rows that are images, in the units of the data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..nn import augment

_BLOCK_VALUES = 2**20


def changed_images(
    rows: NDArray[Any],
    image_shape: tuple[int, int, int],
    value_range: tuple[float, float],
    strengths: Mapping[str, float],
    generator: torch.Generator,
) -> NDArray[Any]:
    """Return each row changed at random, as an image whose values stay in a range.

    Equal rows are changed in ways of their own, unlike those of `ImageAugmenter`:
    copies of one image are to differ.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32 or float64
    image_shape : tuple of int
        (channels, height, width) of a row.
    value_range : tuple of float
        Lowest and highest value of a pixel.
    strengths : mapping of str to float
        As `manifoldgen.nn.check_augment` returns it.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    changed : ndarray of the shape and dtype of rows

    Examples
    --------
    >>> rows = np.array([[2.0, 4.0, 8.0, 6.0]])
    >>> generator = torch.Generator().manual_seed(0)
    >>> changed_images(rows, (1, 2, 2), (0.0, 8.0), {"flip": 1.0}, generator)
    array([[4., 2., 6., 8.]])
    """
    low, high = value_range
    span = (high - low) or 1.0
    changed = np.empty_like(rows)
    step = max(1, _BLOCK_VALUES // rows.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        unit = ((rows[part].astype(np.float64) - low) / span).astype(np.float32)
        images = torch.from_numpy(unit).reshape(-1, *image_shape)
        images = augment(images, strengths, generator).clamp(0.0, 1.0)
        changed[part] = images.flatten(1).double().numpy() * span + low
    return changed
