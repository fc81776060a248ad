"""Fixed geometric transformations of images, which a network learns to tell apart.

Images are float tensors of shape (n, channels, height, width). What comes in from
beyond the border is its nearest pixel, as in `augment`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

Transformation = Callable[[Tensor], Tensor]


def transform_images(images: Tensor, which: Tensor, names: Sequence[str]) -> Tensor:
    """Return images, each by the transformation whose place in `names` it is given.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width)
        Squares where a name begins with "turn".
    which : Tensor of shape (n,), int64
    names : sequence of str
        Of `TRANSFORMATIONS`.

    Returns
    -------
    changed : Tensor of shape (n, channels, height, width)

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(8.0).reshape(2, 1, 2, 2)
    >>> transform_images(images, torch.tensor([1, 0]), ("same", "mirror"))[:, 0]
    tensor([[[1., 0.],
             [3., 2.]],
    <BLANKLINE>
            [[4., 5.],
             [6., 7.]]])
    """
    changed = torch.empty_like(images)
    for place, name in enumerate(names):
        rows = torch.nonzero(which == place).squeeze(1)
        if len(rows):
            changed[rows] = TRANSFORMATIONS[name](images[rows])
    return changed


def turn(images: Tensor, quarters: int) -> Tensor:
    """Turn squares counterclockwise by quarters, exactly."""
    return torch.rot90(images, quarters, (2, 3))


def move(images: Tensor, down: float, right: float) -> Tensor:
    """Move by shares of the sides, rounded to whole pixels."""
    for axis, share in ((2, down), (3, right)):
        side = images.shape[axis]
        place = torch.arange(side, device=images.device)
        source = (place - round(share * side)).clamp(0, side - 1)
        images = images.index_select(axis, source)
    return images


def distort(images: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Take pixels from where a matrix leads, about the middle, bilinearly.

    The matrix, of shape (2, 2), maps places (right, down) in the result to places in
    the image, both in halves of the sides.
    """
    map_back = torch.tensor(matrix, dtype=images.dtype, device=images.device)
    map_back = torch.cat([map_back, map_back.new_zeros(2, 1)], 1)
    grid = F.affine_grid(
        map_back.expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _rotation(degrees: float) -> list[list[float]]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[cos, -sin], [sin, cos]]


def _swap(images: Tensor, axis: int) -> Tensor:
    """Exchange the two halves along an axis."""
    return images.roll(images.shape[axis] // 2, axis)


def _mirror_half(images: Tensor, half: int, flipped: int) -> Tensor:
    """Mirror the upper half (2) or the left one (3) along an axis, in its place."""
    size = [images.shape[half] // 2, images.shape[half] - images.shape[half] // 2]
    first, second = images.split(size, half)
    return torch.cat([first.flip(flipped), second], half)


TRANSFORMATIONS: dict[str, Transformation] = {
    "same": lambda images: images,
    "turn90": partial(turn, quarters=1),
    "turn180": partial(turn, quarters=2),
    "turn270": partial(turn, quarters=3),
    "mirror": lambda images: images.flip(3),
    "up": partial(move, down=-0.25, right=0.0),
    "down": partial(move, down=0.25, right=0.0),
    "left": partial(move, down=0.0, right=-0.25),
    "right": partial(move, down=0.0, right=0.25),
    "tilt_left": partial(distort, matrix=_rotation(45.0)),
    "tilt_right": partial(distort, matrix=_rotation(-45.0)),
    "shear_left": partial(distort, matrix=[[1.0, -0.5], [0.0, 1.0]]),
    "shear_right": partial(distort, matrix=[[1.0, 0.5], [0.0, 1.0]]),
    "narrow": partial(distort, matrix=[[1.5, 0.0], [0.0, 1.0]]),
    "wide": partial(distort, matrix=[[0.7, 0.0], [0.0, 1.0]]),
    "low": partial(distort, matrix=[[1.0, 0.0], [0.0, 1.5]]),
    "tall": partial(distort, matrix=[[1.0, 0.0], [0.0, 0.7]]),
    "swap_rows": partial(_swap, axis=2),
    "swap_columns": partial(_swap, axis=3),
    "mirror_top": partial(_mirror_half, half=2, flipped=3),
    "mirror_left": partial(_mirror_half, half=3, flipped=2),
    "flip_top": partial(_mirror_half, half=2, flipped=2),
    "flip_left": partial(_mirror_half, half=3, flipped=3),
}
"""What becomes of images, by name; the first leaves them."""
