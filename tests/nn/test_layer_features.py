"""Rows to images, and layers to features, against numpy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from manifoldgen.nn.backbones import FeatureNetwork
from manifoldgen.nn.features import (
    POOLINGS,
    ImageUnits,
    LayerFeatures,
    RowFeatures,
    pool_maps,
)

RNG = np.random.RandomState(0)
MAPS = RNG.standard_normal((3, 2, 4, 5))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", MAPS.mean((2, 3))),
        ("max", MAPS.max((2, 3))),
        ("mean_std", np.hstack([MAPS.mean((2, 3)), MAPS.std((2, 3))])),
        ("flatten", MAPS.reshape(3, -1)),
    ],
)
def test_pooling_of_maps_and_tokens(pooling, expected):
    maps = torch.from_numpy(MAPS)
    np.testing.assert_allclose(pool_maps(maps, pooling), expected, rtol=1e-10)
    tokens = maps.flatten(2).transpose(1, 2)
    np.testing.assert_allclose(pool_maps(tokens, pooling), expected, rtol=1e-10)
    rows = maps[:, :, 0, 0]
    assert pool_maps(rows, pooling) is rows


def test_constant_maps_have_no_spread_and_a_finite_slope():
    maps = torch.ones(2, 3, 4, 4, requires_grad=True)
    found = pool_maps(maps, "mean_std")
    found.sum().backward()
    torch.testing.assert_close(found[:, 3:], torch.zeros(2, 3), atol=1e-5, rtol=0)
    assert torch.isfinite(maps.grad).all()


def test_rows_become_images():
    rows = RNG.uniform(0, 16, (5, 12))
    units = ImageUnits(
        np.full(12, 2.0), np.full(12, 4.0), (1, 3, 4), 3, (0.1, 0.2, 0.3), (1, 2, 4)
    )
    images = units(torch.from_numpy(rows)).numpy()
    share = ((rows - 2.0) / 4.0).reshape(5, 3, 4)
    for k, (mean, std) in enumerate([(0.1, 1), (0.2, 2), (0.3, 4)]):
        np.testing.assert_allclose(images[:, k], (share - mean) / std, atol=1e-6)


def test_resizing_averages_what_it_covers():
    rows = RNG.uniform(0, 1, (4, 64)).astype("f4")
    units = ImageUnits(np.zeros(64), np.ones(64), (1, 8, 8), 1, size=(4, 4))
    images = torch.from_numpy(rows).reshape(4, 1, 8, 8)
    # a triangle over four pixels, of weights 1, 3, 3 and 1, within the image
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    window = torch.outer(weights, weights)[None, None]
    found = units(torch.from_numpy(rows))
    assert found.shape == (4, 1, 4, 4)
    torch.testing.assert_close(
        found[:, :, 1:3, 1:3], F.conv2d(images[:, :, 1:7, 1:7], window, stride=2)
    )
    same = ImageUnits(np.zeros(64), np.ones(64), (1, 8, 8), 1, size=(8, 8))
    assert torch.equal(same(torch.from_numpy(rows)), images)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_features_are_the_layers_side_by_side_and_have_slopes(pooling):
    generator = torch.Generator().manual_seed(0)
    network = FeatureNetwork((1, 6, 6), (3, 4), (5,), "tanh", generator=generator)
    layers = ("conv1", "hidden1")
    units = ImageUnits(np.zeros(36), np.ones(36), (1, 6, 6), 1)
    module = RowFeatures(units, LayerFeatures(network, layers, pooling)).double()
    x = torch.rand(2, 36, generator=generator, dtype=torch.float64, requires_grad=True)
    groups = module.features.groups(units(x))
    width = {"mean": 3, "max": 3, "mean_std": 6, "flatten": 27}[pooling]
    assert [group.shape for group in groups] == [(2, width), (2, 5)]
    assert torch.equal(module(x), torch.cat(groups, 1))
    assert torch.autograd.gradcheck(module, (x,))


def test_images_in_parts_are_the_same_images():
    network = FeatureNetwork((1, 6, 6), (3,), (), generator=torch.Generator())
    whole = LayerFeatures(network, ("conv1",), "mean")
    parts = LayerFeatures(network, ("conv1",), "mean", at_once=3)
    images = torch.rand(8, 1, 6, 6)
    torch.testing.assert_close(parts(images), whole(images))


def test_views_stand_side_by_side_in_each_layer():
    network = FeatureNetwork((1, 6, 6), (3,), (4,), generator=torch.Generator())
    layers, views = ("conv1", "hidden1"), ("same", "turn90", "mirror")
    images = torch.rand(5, 1, 6, 6)
    plain = LayerFeatures(network, layers, "max")
    changed = images, torch.rot90(images, 1, (2, 3)), images.flip(3)
    want = [torch.cat(of, 1) for of in zip(*map(plain.groups, changed), strict=True)]
    found = LayerFeatures(network, layers, "max", views=views).groups(images)
    assert [group.shape[1] for group in found] == [9, 12]
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b)
