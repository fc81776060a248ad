"""What all extractors promise: modules that are their transforms, and pixel units."""

import copy
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from manifoldgen.features import (
    ClassifierFeatures,
    PretrainedFeatures,
    SelfSupervisedFeatures,
)

RNG = np.random.RandomState(0)
BYTES = RNG.randint(0, 256, (40, 3, 9, 9)).astype(np.uint8)
LABELS = np.arange(40) % 3
UNITS = {
    "bytes": BYTES,
    "shares": BYTES / 255,
    "signed": BYTES / 64.0 - 2.0,
    "grey": BYTES[:, 0],
    "strips": RNG.standard_normal((40, 30)) * np.arange(1, 31) + 100.0,
}


class Own(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Tanh(), nn.Flatten())


TINY = {"max_epochs": 1, "channels": (3, 4), "random_state": 0}
EXTRACTORS = {
    "random": PretrainedFeatures(random_state=0, pooling="mean_std"),
    "vgg": PretrainedFeatures("vgg11", layers=("pool1", "relu2_1"), size=12),
    "own": PretrainedFeatures(Own, layers=("0", "output"), batch_size=7),
    "classifier": ClassifierFeatures(5, layers=("conv1", "output"), **TINY),
    "transformations": SelfSupervisedFeatures(
        5, layers=("hidden1", "output"), views=("same", "turn90"), **TINY
    ),
    "simclr": SelfSupervisedFeatures(5, objective="simclr", activation="tanh", **TINY),
}


def takes(name, units):
    """Return whether an extractor takes rows, which may be no images for it."""
    return units != "strips" or name in ("random", "simclr")


PAIRS = [(name, units) for name in EXTRACTORS for units in UNITS if takes(name, units)]


@cache
def fitted(name, units):
    return clone(EXTRACTORS[name]).fit(UNITS[units], LABELS)


@pytest.mark.parametrize(("name", "units"), PAIRS)
def test_the_module_is_the_transform_with_slopes(name, units):
    extractor, rows = fitted(name, units), UNITS[units].reshape(40, -1)
    module = extractor.to_module()
    x = torch.tensor(rows, dtype=torch.float32, requires_grad=True)
    found = module(x)
    expected = extractor.transform(rows)
    assert expected.shape == (40, sum(extractor.group_lengths_))
    assert expected.dtype == np.float32
    spread = expected.std() + 1e-6
    np.testing.assert_allclose(found.detach(), expected, atol=2e-4 * spread, rtol=1e-4)
    found.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad.abs().sum(1) > 0).all()
    assert not any(part.training for part in module.modules())
    assert not any(p.requires_grad for p in module.parameters())


def test_the_module_keeps_what_differs_between_large_numbers():
    rows = 1e6 + np.random.default_rng(0).random((40, 36))
    extractor = PretrainedFeatures(image_shape=(1, 6, 6)).fit(rows)
    found = extractor.to_module()(torch.from_numpy(rows))
    expected = extractor.transform(rows)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std())


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_module_is_a_copy(name):
    extractor = copy.deepcopy(fitted(name, "bytes"))
    before = extractor.transform(BYTES)
    module = extractor.to_module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(extractor.transform(BYTES), before)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_units_of_pixels_do_not_change_features(name):
    # a validation split that is random would be the same too: no row is held out here
    extractor = clone(EXTRACTORS[name]).set_params(random_state=1)
    if hasattr(extractor, "validation_fraction"):
        extractor.set_params(validation_fraction=0.0)
    of_bytes = clone(extractor).fit(BYTES, LABELS).transform(BYTES)
    of_shares = clone(extractor).fit(BYTES / 255, LABELS).transform(BYTES / 255)
    np.testing.assert_allclose(of_shares, of_bytes, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_names_and_frames_of_features(name):
    extractor = clone(EXTRACTORS[name]).set_output(transform="pandas")
    found = extractor.fit(BYTES, LABELS).transform(BYTES)
    assert isinstance(found, pd.DataFrame)
    names = extractor.get_feature_names_out()
    assert list(found.columns) == list(names)
    prefix = type(extractor).__name__.lower()
    if getattr(extractor, "is_random_", False):
        prefix = "randomfeatures"
    assert names[-1] == f"{prefix}{len(names) - 1}"


@pytest.mark.parametrize("name", EXTRACTORS)
def test_images_of_another_kind_than_in_fit(name):
    extractor = fitted(name, "bytes")
    with pytest.raises(ValueError, match=r"images of shape \(3, 9, 9\).*\(9, 9, 3\)"):
        extractor.transform(BYTES.transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match="Multiply them by 255"):
        extractor.transform(BYTES / 255)
    with pytest.raises(ValueError, match="looks like channels last"):
        clone(extractor).fit(BYTES.transpose(0, 2, 3, 1), LABELS)
    with pytest.raises(NotFittedError):
        clone(extractor).to_module()
