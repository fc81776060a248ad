"""Random changes of images that keep what they show, for training on more of them.

Images are float tensors of shape (n, channels, height, width) with values in [0, 1];
`noise` and `color` may leave that range, so that gradients reach every pixel, and who
calls them clips at the end. Each image is changed by numbers of its own, drawn from a
`torch.Generator` on the device of the images; all are changed at once, and the result
is differentiable in the images as often as one likes.

What an operation does follows from uniform numbers alone (and normal ones, for noise):
`augment` draws them, `apply_augmentation` takes them from anywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .._validation import check_real


class _Operation(NamedTuple):
    n_uniforms: int
    strength: float  # by default
    limit: float


_OPERATIONS = {  # in the order in which they act
    "flip": _Operation(1, 0.5, 1.0),
    "rotate": _Operation(1, 12.0, 180.0),
    "scale": _Operation(1, 0.12, 1.0),
    "crop": _Operation(3, 0.2, 1.0),
    "shift": _Operation(2, 0.08, 1.0),
    "color": _Operation(3, 0.2, 1.0),
    "noise": _Operation(0, 0.05, 1.0),
    "cutout": _Operation(2, 0.25, 1.0),
}
_WHOLE = {"flip", "shift"}  # these send whole pixels to whole pixels

AUGMENTATIONS = {name: known.strength for name, known in _OPERATIONS.items()}
"""Default strength of each operation, in the order in which they act."""


def augment(
    images: Tensor,
    operations: Mapping[str, float] | Sequence[str],
    generator: torch.Generator,
) -> Tensor:
    """Return images, each changed by random amounts of its own.

    The operations are "flip", "rotate", "scale", "crop", "shift", "color", "noise" and
    "cutout", and they act in that order, whatever the order of `operations`. Those on
    places make up one affine map, so pixels are interpolated (bilinearly) once;
    flips and shifts without any other are exact. What lies outside the image is its
    nearest border pixel.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width), float
        Values in [0, 1].
    operations : mapping of str to float, or sequence of str
        Strength of each operation, in the units of the function of that name; a
        sequence takes their defaults. A strength of 0 is no operation.
    generator : torch.Generator
        On the device of the images.

    Returns
    -------
    changed : Tensor of shape (n, channels, height, width)
        Not clipped: `noise` and `color` may leave [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an operation is not known or a strength is out of its range.

    References
    ----------
    .. [1] S. Zhao et al., "Differentiable augmentation for data-efficient GAN
       training", NeurIPS 2020, arXiv:2006.10738. We have rotations, scales, crops and
       noise too, replicate the border where they fill with black, and keep every
       hole of `cutout` inside the image.

    Examples
    --------
    >>> import torch
    >>> from manifoldgen.nn import augment
    >>> images = torch.arange(12.0).reshape(1, 1, 3, 4) / 12
    >>> changed = augment(images, {"flip": 1.0}, torch.Generator())
    >>> torch.equal(changed, images.flip(3))
    True
    >>> augment(images, ["rotate", "shift"], torch.Generator()).shape
    torch.Size([1, 1, 3, 4])
    """
    strengths = check_augment(operations)
    uniforms = torch.rand(
        (len(images), count_uniforms(strengths)),
        generator=generator,
        device=images.device,
        dtype=images.dtype,
    )
    normals = None
    if strengths.get("noise"):
        normals = torch.empty_like(images).normal_(generator=generator)
    return apply_augmentation(images, strengths, uniforms, normals)


def apply_augmentation(
    images: Tensor,
    operations: Mapping[str, float],
    uniforms: Tensor,
    normals: Tensor | None = None,
) -> Tensor:
    """Change images by numbers that are given.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width), float
        Values in [0, 1].
    operations : mapping of str to float
        As `check_augment` returns it.
    uniforms : Tensor of shape (n, count_uniforms(operations))
        In [0, 1]; each operation of a strength above 0 takes its own, in order.
    normals : Tensor of the shape of images, default=None
        For `noise`, which is left out without them.

    Returns
    -------
    changed : Tensor of shape (n, channels, height, width)
    """
    numbers, start = {}, 0
    for name, known in _OPERATIONS.items():
        if operations.get(name):
            numbers[name] = uniforms[:, start : start + known.n_uniforms]
            start += known.n_uniforms
    moves = [name for name in _MATRICES if name in numbers]
    if moves:
        matrix = torch.eye(3, dtype=uniforms.dtype, device=uniforms.device)
        for name in moves:
            size = (images.shape[2], images.shape[3])
            found = _MATRICES[name](numbers[name], operations[name], size)
            matrix = matrix @ found
        images = (_move_whole if {*moves} <= _WHOLE else _resample)(images, matrix)
    if "color" in numbers:
        images = _color(images, numbers["color"], operations["color"])
    if "noise" in numbers and normals is not None:
        images = images + operations["noise"] * normals
    if "cutout" in numbers:
        images = _cutout(images, numbers["cutout"], operations["cutout"])
    return images


def count_uniforms(operations: Mapping[str, float]) -> int:
    """Return how many uniform numbers an image takes."""
    return sum(
        known.n_uniforms for name, known in _OPERATIONS.items() if operations.get(name)
    )


def check_augment(value: Any, name: str = "augment") -> dict[str, float]:
    """Return the strength of each operation that `value` asks for, in order.

    Parameters
    ----------
    value : None, mapping of str to float, or sequence of str
        None is no operation; names alone have their default strengths.
    name : str, default="augment"
        What errors call it.

    Raises
    ------
    TypeError, ValueError
        If an operation is not known or a strength is out of its range.
    """
    if value is None:
        return {}
    if isinstance(value, (str, bytes)) or not isinstance(value, (Mapping, Sequence)):
        raise TypeError(
            f"{name} must be None, a sequence of names or a dict of name to strength, "
            f"such as ('flip', 'shift') or {{'rotate': 15.0}}, got {value!r}."
        )
    for operation in value:
        if not isinstance(operation, str) or operation not in _OPERATIONS:
            raise ValueError(
                f"{name} must name operations among {', '.join(_OPERATIONS)}, got "
                f"{operation!r}."
            )
    found = dict(value) if isinstance(value, Mapping) else dict.fromkeys(value)
    strengths = {}
    for operation, known in _OPERATIONS.items():
        if operation in found:
            given = found[operation] if isinstance(value, Mapping) else known.strength
            # a crop by 1 would leave nothing of the image
            closed = "left" if operation == "crop" else "both"
            strengths[operation] = check_real(
                f"{name}[{operation!r}]", given, 0.0, known.limit, closed=closed
            )
    return strengths


def flip(
    images: Tensor, generator: torch.Generator, probability: float = 0.5
) -> Tensor:
    """Mirror left and right, with a `probability` in [0, 1]."""
    return augment(images, {"flip": probability}, generator)


def rotate(images: Tensor, generator: torch.Generator, degrees: float = 12.0) -> Tensor:
    """Turn about the middle by up to `degrees`, in [0, 180], either way."""
    return augment(images, {"rotate": degrees}, generator)


def scale(images: Tensor, generator: torch.Generator, share: float = 0.12) -> Tensor:
    """Enlarge about the middle by a factor of up to ``1 + share``, or shrink by it.

    The logarithm of the factor is uniform; `share` is in [0, 1].
    """
    return augment(images, {"scale": share}, generator)


def crop(images: Tensor, generator: torch.Generator, share: float = 0.2) -> Tensor:
    """Cut a window out and stretch it to the size of the image.

    Both its sides are shorter by one share, uniform up to `share` in [0, 1).
    """
    return augment(images, {"crop": share}, generator)


def shift(images: Tensor, generator: torch.Generator, share: float = 0.08) -> Tensor:
    """Move by whole pixels, up to `share` of each side in [0, 1], any way.

    Each number of pixels up to ``share * side``, rounded, is as probable.
    """
    return augment(images, {"shift": share}, generator)


def color(images: Tensor, generator: torch.Generator, share: float = 0.2) -> Tensor:
    """Change brightness, contrast and, of three channels, saturation.

    Brightness moves by up to `share` of the range; contrast about the mean of the
    image, and saturation about the mean of the channels, are multiplied by 1 - share
    to 1 + share, all uniformly. `share` is in [0, 1].
    """
    return augment(images, {"color": share}, generator)


def noise(images: Tensor, generator: torch.Generator, std: float = 0.05) -> Tensor:
    """Add Gaussian noise with a standard deviation of `std`, in [0, 1] of the range."""
    return augment(images, {"noise": std}, generator)


def cutout(images: Tensor, generator: torch.Generator, share: float = 0.25) -> Tensor:
    """Set a rectangle to 0, whose sides are `share`, in [0, 1], of those of the image.

    They are whole pixels, at least one, and the rectangle lies inside the image.
    """
    return augment(images, {"cutout": share}, generator)


def _affine(
    uniforms: Tensor,
    xx: Any = 1.0,
    xy: Any = 0.0,
    yx: Any = 0.0,
    yy: Any = 1.0,
    x: Any = 0.0,
    y: Any = 0.0,
) -> Tensor:
    """Return (n, 3, 3) maps from places in the result to those in the image.

    In pixels from the middle of the image.
    """
    matrices = uniforms.new_zeros(len(uniforms), 3, 3)
    for row, values in enumerate([(xx, xy, x), (yx, yy, y), (0.0, 0.0, 1.0)]):
        for column, value in enumerate(values):
            matrices[:, row, column] = value
    return matrices


def _flip(u: Tensor, probability: float, size: tuple[int, int]) -> Tensor:
    return _affine(u, xx=1.0 - 2.0 * (u[:, 0] < probability).to(u.dtype))


def _rotate(u: Tensor, degrees: float, size: tuple[int, int]) -> Tensor:
    angle = torch.deg2rad((2.0 * u[:, 0] - 1.0) * degrees)
    cos, sin = angle.cos(), angle.sin()
    return _affine(u, cos, -sin, sin, cos)


def _scale(u: Tensor, share: float, size: tuple[int, int]) -> Tensor:
    factor = (1.0 + share) ** (1.0 - 2.0 * u[:, 0])
    return _affine(u, xx=factor, yy=factor)


def _crop(u: Tensor, share: float, size: tuple[int, int]) -> Tensor:
    height, width = size
    side = 1.0 - share * u[:, 0]
    x, y = ((u[:, k] - 0.5) * (1.0 - side) for k in (1, 2))
    return _affine(u, xx=side, yy=side, x=x * width, y=y * height)


def _shift(u: Tensor, share: float, size: tuple[int, int]) -> Tensor:
    height, width = size
    y, x = (
        _whole(u[:, k], 2 * int(share * side + 0.5) + 1) - int(share * side + 0.5)
        for k, side in ((0, height), (1, width))
    )
    return _affine(u, x=-x, y=-y)


def _whole(u: Tensor, count: int) -> Tensor:
    """Return one of the numbers 0 to count - 1, each as probable."""
    return (u * count).floor().clamp_max(count - 1)


def _color(images: Tensor, u: Tensor, share: float) -> Tensor:
    brightness, contrast, saturation = (
        (share * (2.0 * u[:, k] - 1.0))[:, None, None, None] for k in range(3)
    )
    images = images + brightness
    if images.shape[1] == 3:
        images = images + saturation * (images - images.mean(1, keepdim=True))
    return images + contrast * (images - images.mean((1, 2, 3), keepdim=True))


def _cutout(images: Tensor, u: Tensor, share: float) -> Tensor:
    down, along = (
        _stretch(u[:, k], share, images.shape[axis]) for k, axis in ((0, 2), (1, 3))
    )
    return images.masked_fill((down[:, :, None] & along[:, None, :])[:, None], 0.0)


def _stretch(u: Tensor, share: float, side: int) -> Tensor:
    """Return which pixels of a side a stretch covers that begins anywhere."""
    length = max(1, int(share * side + 0.5))
    first = _whole(u[:, None], side - length + 1)
    place = torch.arange(side, device=u.device)
    return (place >= first) & (place < first + length)


_MATRICES: dict[str, Callable[[Tensor, float, tuple[int, int]], Tensor]] = {
    "flip": _flip,
    "rotate": _rotate,
    "scale": _scale,
    "crop": _crop,
    "shift": _shift,
}
"""What an operation on places makes of uniform numbers, strength and (height, width)"""


def _move_whole(images: Tensor, matrix: Tensor) -> Tensor:
    """Return images mirrored and shifted by whole pixels, exactly."""
    n, channels, height, width = images.shape
    rows = _source(matrix[:, 1, 1], matrix[:, 1, 2], height)
    columns = _source(matrix[:, 0, 0], matrix[:, 0, 2], width)
    index = rows[:, :, None] * width + columns[:, None, :]
    index = index.reshape(n, 1, -1).expand(n, channels, -1)
    return images.flatten(2).gather(2, index).view_as(images)


def _source(slope: Tensor, offset: Tensor, side: int) -> Tensor:
    middle = (side - 1) / 2
    place = torch.arange(side, device=slope.device, dtype=slope.dtype) - middle
    found = slope[:, None] * place + offset[:, None] + middle
    return found.round().long().clamp(0, side - 1)


def _resample(images: Tensor, matrix: Tensor) -> Tensor:
    """Return images at the places that the maps lead to, bilinearly."""
    height, width = images.shape[2:]
    across = _source_places(matrix[:, 0], height, width, width)
    down = _source_places(matrix[:, 1], height, width, height)
    grid = torch.stack((across, down), 3).to(images.dtype)
    found: Tensor = _GridSample.apply(images, grid)
    return found


def _source_places(row: Tensor, height: int, width: int, side: int) -> Tensor:
    """Return one coordinate of the source of each pixel, as `grid_sample` takes it.

    It counts from -1 to 1 between the outer edges of the border pixels, whose middles
    are the outermost places here: so the border is replicated.
    """
    x = torch.arange(width).to(row) - (width - 1) / 2
    y = torch.arange(height).to(row) - (height - 1) / 2
    row = row[:, :, None, None] * (2.0 / side)
    found = row[:, 0] * x + (row[:, 1] * y[:, None] + row[:, 2])
    return found.clamp_(1.0 / side - 1.0, 1.0 - 1.0 / side)


class _GridSample(torch.autograd.Function):
    """`grid_sample`, whose gradient in the images has a gradient again.

    Penalties on the slope of a critic at changed images need it; torch's own has none.
    The grid is taken for a constant.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return F.grid_sample(
            images, grid, padding_mode=_padding(grid), align_corners=False
        )

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        found: Tensor = _GridSampleSlope.apply(slope, grid, ctx.shape)
        return found, None


class _GridSampleSlope(torch.autograd.Function):
    """The transpose of `grid_sample`, which is linear in the images."""

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, grid: Tensor, shape: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(grid)
        with torch.enable_grad():
            images = slope.new_zeros(shape).requires_grad_()
            changed = F.grid_sample(
                images, grid, padding_mode=_padding(grid), align_corners=False
            )
        return torch.autograd.grad(changed, images, slope)[0]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _GridSample.apply(slope, grid), None, None


def _padding(grid: Tensor) -> str:
    # places beyond the border are cut off before; "border" is not there on MPS, but it
    # alone is exact where rounding leads a hair beyond
    return "zeros" if grid.device.type == "mps" else "border"
