"""Augmentation by hand on tiny images and against loops over single images."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import ndimage

from manifoldgen import nn
from manifoldgen.nn import (
    AUGMENTATIONS,
    apply_augmentation,
    augment,
    check_augment,
    count_uniforms,
)

GEOMETRY = ["flip", "rotate", "scale", "crop", "shift"]


@pytest.fixture
def images():
    return torch.rand(7, 3, 6, 9, generator=seeded(0), dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def given(images, operations, *uniforms):
    """Apply operations with the same uniform numbers for every image."""
    numbers = torch.tensor(uniforms, dtype=images.dtype).expand(len(images), -1)
    return apply_augmentation(images, operations, numbers)


def shifted_by_hand(image, down, right):
    """Return np.roll without the wrap: what comes in is the border pixel."""
    out = np.empty_like(image)
    height, width = image.shape[1:]
    for i in range(height):
        for j in range(width):
            source = (
                np.clip(i - down, 0, height - 1),
                np.clip(j - right, 0, width - 1),
            )
            out[:, i, j] = image[:, source[0], source[1]]
    return out


@pytest.mark.parametrize(
    ("u", "down", "right"),
    [
        ((0.0, 0.0), -3, -4),
        ((1.0, 1.0), 3, 4),
        ((0.5, 0.5), 0, 0),
        ((0.72, 0.4), 2, -1),
    ],
)
def test_a_shift_moves_whole_pixels(images, u, down, right):
    # half of 6 and of 9 pixels: 7 and 11 outcomes (rounded up from 4.5)
    right = {-4: -5, 4: 5}.get(right, right)
    changed = given(images, {"shift": 0.5}, *u)
    for image, found in zip(images, changed, strict=True):
        expected = shifted_by_hand(image.numpy(), down, right)
        assert np.array_equal(found.numpy(), expected)


def test_a_whole_shift_inside_an_affine_map_is_the_same(images):
    exact = given(images, {"shift": 0.5}, 0.72, 0.4)
    turned = given(images, {"rotate": 90.0, "shift": 0.5}, 0.5, 0.72, 0.4)
    assert_allclose(turned, exact, atol=1e-12)


def test_shifts_are_equally_probable():
    images = torch.zeros(6000, 1, 1, 5)
    images[..., 2] = 1.0
    changed = augment(images, {"shift": 0.4}, seeded(1))
    counts = changed.mean((0, 1, 2)).numpy()
    # five outcomes of 1 in 5, sigma 0.0052
    assert_allclose(counts, 0.2, atol=4 * 0.0052)


def test_a_flip_mirrors_left_and_right(images):
    assert torch.equal(given(images, {"flip": 0.5}, 0.49), images.flip(3))
    assert torch.equal(given(images, {"flip": 0.5}, 0.51), images)
    both = given(images, {"flip": 1.0, "shift": 0.2}, 0.3, 0.5, 1.0)
    for image, found in zip(images.flip(3), both, strict=True):
        assert np.array_equal(found, shifted_by_hand(image.numpy(), 0, 2))


def test_the_share_of_flips_is_the_probability():
    images = torch.tensor([0.0, 1.0]).expand(4000, 1, 1, 2)
    share = float(nn.flip(images, seeded(0), 0.3)[:, 0, 0, 0].mean())
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)


@pytest.mark.parametrize(("u", "turns"), [(1.0, 1), (0.0, -1), (0.5, 0)])
def test_a_rotation_by_90_degrees(u, turns):
    square = torch.rand(2, 1, 5, 5, generator=seeded(0), dtype=torch.float64)
    changed = given(square, {"rotate": 90.0}, u)
    expected = np.rot90(square.numpy(), turns, axes=(2, 3))
    assert_allclose(changed, expected, atol=1e-12)


def test_a_rotation_by_180_degrees_of_an_image_that_is_no_square(images):
    changed = given(images, {"rotate": 180.0}, 1.0)
    assert_allclose(changed, images.flip(2, 3), atol=1e-12)


def test_a_scale_and_a_crop_by_hand():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    # twice as large about the middle: places 3.5 + (x - 3.5) / 2
    larger = given(ramp, {"scale": 1.0}, 1.0)
    assert_allclose(larger[0, 0, 0], 3.5 + (np.arange(8) - 3.5) / 2)
    # half as large: what is outside is the border
    smaller = given(ramp, {"scale": 1.0}, 0.0)
    expected = np.clip(3.5 + (np.arange(8) - 3.5) * 2, 0, 7)
    assert_allclose(smaller[0, 0, 0], expected)
    # the right half of the image, its outer edge at the outer edge
    window = given(ramp, {"crop": 0.5}, 1.0, 1.0, 0.0)
    expected = np.minimum(4 + (np.arange(8) + 0.5) / 2 - 0.5, 7)
    assert_allclose(window[0, 0, 0], expected)
    # and the upper half of its transpose
    window = given(ramp.transpose(2, 3), {"crop": 0.5}, 1.0, 1.0, 0.0)
    expected = np.maximum((np.arange(8) + 0.5) / 2 - 0.5, 0)
    assert_allclose(window[0, 0, :, 0], expected)


def matrix_by_hand(u, strengths, height, width):
    """Return the map of (row, column) from the middle, of one image, in numpy."""
    angle = np.radians((2 * u[1] - 1) * strengths["rotate"])
    mirror = np.diag([1.0, -1.0 if u[0] < strengths["flip"] else 1.0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    zoom = (1 + strengths["scale"]) ** (1 - 2 * u[2])
    side = 1 - strengths["crop"] * u[3]
    window = (1 - side) * (np.array([u[5], u[4]]) - 0.5) * [height, width]
    most = np.floor(strengths["shift"] * np.array([height, width]) + 0.5)
    moved = np.floor(np.array(u[6:8]) * (2 * most + 1)) - most
    linear = mirror @ turn * zoom * side
    offset = mirror @ turn @ (zoom * (window - side * moved))
    middle = (np.array([height, width]) - 1) / 2
    return linear, offset + middle - linear @ middle


def test_all_moves_are_one_map_as_scipy_applies_it(images):
    strengths = {"flip": 0.5, "rotate": 30.0, "scale": 0.3, "crop": 0.4, "shift": 0.25}
    uniforms = torch.rand(7, 8, generator=seeded(2), dtype=torch.float64)
    changed = apply_augmentation(images, strengths, uniforms)
    for image, found, u in zip(images, changed, uniforms.numpy(), strict=True):
        linear, offset = matrix_by_hand(u, strengths, 6, 9)
        for channel in range(3):
            expected = ndimage.affine_transform(
                image[channel].numpy(), linear, offset, order=1, mode="nearest"
            )
            assert_allclose(found[channel], expected, atol=1e-10)


def test_color_by_hand(images):
    share, (b, c, s) = 0.4, np.array([0.1, 0.8, 0.3])
    changed = given(images, {"color": share}, b, c, s)
    for image, found in zip(images.numpy(), changed, strict=True):
        expected = image + share * (2 * b - 1)
        grey = expected.mean(axis=0)
        expected = grey + (1 + share * (2 * s - 1)) * (expected - grey)
        expected = expected.mean() + (1 + share * (2 * c - 1)) * (
            expected - expected.mean()
        )
        assert_allclose(found, expected)
    # of one channel, saturation is nothing
    one = images[:, :1]
    assert torch.equal(
        given(one, {"color": share}, b, c, 0.0), given(one, {"color": share}, b, c, 1.0)
    )


def test_cutout_leaves_a_hole_of_its_size_inside():
    images = torch.ones(300, 2, 6, 10)
    changed = nn.cutout(images, seeded(0), 0.3)
    holes = (changed == 0).all(1)
    assert torch.equal((changed == 0).any(1), holes)  # the same in all channels
    assert set(holes.any(2).sum(1).tolist()) == {2}  # 1.8 rows
    assert set(holes.any(1).sum(1).tolist()) == {3}
    assert set(holes.sum((1, 2)).tolist()) == {6}
    assert holes.any(0).all()  # anywhere
    assert float(nn.cutout(images, seeded(0), 1.0).abs().max()) == 0.0


def test_the_spread_of_noise():
    images = torch.full((50, 1, 20, 20), 0.5)
    added = nn.noise(images, seeded(0), 0.2) - images
    n = added.numel()
    assert abs(float(added.mean())) < 4 * 0.2 / np.sqrt(n)
    assert abs(float(added.std()) - 0.2) < 4 * 0.2 / np.sqrt(2 * n)


def test_the_hole_of_cutout_stays_black_under_noise_and_color(images):
    changed = augment(images, ["cutout", "color", "noise"], seeded(0))
    assert int((changed == 0).all(1).sum()) == 7 * 2 * 2  # 1.5 by 2.25 pixels


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_function_of_a_name_is_its_operation(images, name):
    by_function = getattr(nn, name)(images, seeded(3))
    by_name = augment(images, [name], seeded(3))
    assert torch.equal(by_function, by_name)
    assert not torch.equal(by_name, images)
    strong = getattr(nn, name)(images, seeded(3), AUGMENTATIONS[name] / 2)
    assert torch.equal(
        strong, augment(images, {name: AUGMENTATIONS[name] / 2}, seeded(3))
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_strength_is_no_change(images, name):
    assert torch.equal(augment(images, {name: 0.0}, seeded(0)), images)
    assert augment(images, (), seeded(0)) is images


def test_one_state_of_the_generator_gives_one_result(images):
    everything = dict(reversed(AUGMENTATIONS.items()))
    one = augment(images, everything, seeded(5))
    assert torch.equal(one, augment(images, list(AUGMENTATIONS), seeded(5)))
    assert not torch.equal(one, augment(images, everything, seeded(6)))
    before = torch.get_rng_state()
    augment(images, everything, seeded(5))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("operations", [["flip", "shift"], list(AUGMENTATIONS)])
def test_an_image_is_changed_by_numbers_of_its_own(images, operations):
    strengths = check_augment(operations)
    same = images[:1].repeat(7, 1, 1, 1)
    changed = augment(same, {**strengths, "flip": 1.0}, seeded(0))
    assert not torch.equal(changed[0], changed[1])
    uniforms = torch.rand(7, count_uniforms(strengths), dtype=images.dtype)
    normals = torch.randn(images.shape, dtype=images.dtype)
    batch = apply_augmentation(images, strengths, uniforms, normals)
    for k in range(7):
        one = slice(k, k + 1)
        alone = apply_augmentation(images[one], strengths, uniforms[one], normals[one])
        assert_allclose(batch[one], alone, atol=1e-12)


@pytest.mark.parametrize("operations", [["flip", "shift"], list(AUGMENTATIONS)])
def test_slopes_and_slopes_of_slopes(operations):
    images = torch.rand(1, 3, 3, 4, generator=seeded(0), dtype=torch.float64)
    images.requires_grad_(True)

    def changed(images):
        return augment(images, operations, seeded(1))

    assert torch.autograd.gradcheck(changed, images, fast_mode=True)

    def penalty(images):  # as on the slope of a critic
        value = changed(images).pow(3).sum()
        (slope,) = torch.autograd.grad(value, images, create_graph=True)
        return slope.square().sum()

    assert torch.autograd.gradcheck(penalty, images, fast_mode=True)


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (3, 1, 1, 8), (0, 3, 4, 4)])
def test_strips_and_no_images_at_all(shape):
    images = torch.rand(shape, generator=seeded(0))
    changed = augment(images, list(AUGMENTATIONS), seeded(0))
    assert changed.shape == shape
    assert bool(changed.isfinite().all())


def test_checked_strengths_are_in_the_order_of_the_operations():
    assert check_augment(None) == {} == check_augment(())
    found = check_augment(["noise", "flip"])
    assert list(found.items()) == [("flip", 0.5), ("noise", 0.05)]
    assert check_augment({"rotate": 10, "flip": 1}) == {"flip": 1.0, "rotate": 10.0}
    assert list(check_augment(list(AUGMENTATIONS))) == list(AUGMENTATIONS)
    for name in AUGMENTATIONS:
        assert nn.__dict__[name].__name__ == name


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        ("flip", TypeError, "augment must be None, a sequence of names"),
        (3, TypeError, "got 3"),
        (["flop"], ValueError, "flip, rotate, scale.*got 'flop'"),
        ([["flip"]], ValueError, r"got \['flip'\]"),
        ({"flip": 1.5}, ValueError, r"augment\['flip'\] must be a number in \[0, 1\]"),
        ({"rotate": 181}, ValueError, r"\[0, 180\], got 181"),
        ({"crop": 1.0}, ValueError, r"\[0, 1\), got 1.0"),
        ({"noise": -0.1}, ValueError, "got -0.1"),
        ({"shift": "far"}, TypeError, "got 'far'"),
        ({"scale": float("nan")}, ValueError, "got nan"),
    ],
)
def test_operations_that_are_none(value, error, match):
    with pytest.raises(error, match=match):
        check_augment(value)
