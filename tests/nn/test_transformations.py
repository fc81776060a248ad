"""Fixed transformations of images, by hand on small ones."""

import numpy as np
import pytest
import torch

from manifoldgen.nn.transformations import TRANSFORMATIONS, transform_images

SMALL = np.arange(16.0).reshape(4, 4)

EXACT = {
    "same": SMALL,
    "turn90": SMALL.T[::-1],
    "turn180": SMALL[::-1, ::-1],
    "turn270": SMALL.T[:, ::-1],
    "mirror": SMALL[:, ::-1],
    "up": SMALL[[1, 2, 3, 3]],
    "down": SMALL[[0, 0, 1, 2]],
    "left": SMALL[:, [1, 2, 3, 3]],
    "right": SMALL[:, [0, 0, 1, 2]],
    "swap_rows": SMALL[[2, 3, 0, 1]],
    "swap_columns": SMALL[:, [2, 3, 0, 1]],
    "mirror_top": np.vstack([SMALL[:2, ::-1], SMALL[2:]]),
    "mirror_left": np.hstack([SMALL[::-1, :2], SMALL[:, 2:]]),
    "flip_top": SMALL[[1, 0, 2, 3]],
    "flip_left": SMALL[:, [1, 0, 2, 3]],
}


def apply(name, image):
    images = torch.tensor(image.copy(), dtype=torch.float32)[None, None]
    return TRANSFORMATIONS[name](images)[0, 0].numpy()


@pytest.mark.parametrize("name", EXACT)
def test_whole_pixels_move_exactly(name):
    np.testing.assert_array_equal(apply(name, EXACT["same"]), EXACT[name])


def ink(image):
    """Return the middle of the ink, its spread down and along, and its slant."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] - (len(image) - 1) / 2
    weights = image / image.sum()
    middle = [(weights * rows).sum(), (weights * columns).sum()]
    spread = [(weights * rows**2).sum() ** 0.5, (weights * columns**2).sum() ** 0.5]
    return middle, *spread, (weights * rows * columns).sum()


BAR = np.zeros((21, 21))
BAR[5:16, 9:12] = 1.0
PLACE = np.arange(31) - 15.0
DOT = np.exp(-(PLACE**2 + PLACE[:, None] ** 2) / 2 / 3**2)


@pytest.mark.parametrize(
    ("name", "down", "along"),
    [
        ("narrow", 1, 1 / 1.5),
        ("wide", 1, 1 / 0.7),
        ("low", 1 / 1.5, 1),
        ("tall", 1 / 0.7, 1),
    ],
)
def test_stretches_keep_the_middle_and_change_one_side(name, down, along):
    middle, *spread, slant = ink(apply(name, DOT))
    _, *before, _ = ink(DOT)
    np.testing.assert_allclose(middle, 0.0, atol=1e-4)
    np.testing.assert_allclose(spread, [down * before[0], along * before[1]], rtol=0.02)
    assert abs(slant) < 1e-3


@pytest.mark.parametrize(
    ("name", "sign"),
    [("tilt_left", 1), ("tilt_right", -1), ("shear_left", 1), ("shear_right", -1)],
)
def test_a_bar_leans_to_the_side_that_the_name_says(name, sign):
    # leaning left, its upper end, at negative rows, is at negative columns
    middle, _, _, slant = ink(apply(name, BAR))
    np.testing.assert_allclose(middle, 0.0, atol=1e-4)
    assert sign * slant > 2.0


def test_each_image_goes_through_its_own_transformation():
    images = torch.rand(9, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    names = tuple(TRANSFORMATIONS)
    which = torch.tensor([3, 0, 12, 12, 20, 1, 0, 22, 7])
    changed = transform_images(images, which, names)
    for image, place, got in zip(images, which.tolist(), changed, strict=True):
        alone = TRANSFORMATIONS[names[place]](image[None])[0]
        torch.testing.assert_close(got, alone)


@pytest.mark.parametrize("shape", [(3, 5), (5, 2), (2, 2)])
def test_images_of_odd_sides_keep_their_shape(shape):
    images = torch.rand(2, 3, *shape)
    for name, transform in TRANSFORMATIONS.items():
        if not name.startswith("turn") or shape[0] == shape[1]:
            assert transform(images).shape == images.shape, name
