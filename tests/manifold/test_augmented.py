"""Manifolds that see their images changed at random in training."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from manifoldgen import AutoencoderManifold, load, save
from manifoldgen.nn import augment

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "hidden_sizes": (16,),
    "max_epochs": 3,
    "image_shape": (1, 8, 8),
    "random_state": 0,
}
OPERATIONS = {"rotate": 20.0, "shift": 0.125, "color": 0.3, "noise": 0.1}


def pixels(digits, dtype=np.float32):
    X = digits[0][:200]
    return (X * 15).astype(np.uint8) if dtype == np.uint8 else (X / 16).astype(dtype)


def changed_by_hand(manifold, rows, low, high, seed):
    """Return rows of data after augmentation, computed in units of the data."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.tensor((rows - low) / (high - low), dtype=torch.float32)
    images = augment(images.reshape(-1, 1, 8, 8), manifold.augment, generator)
    return images.clamp(0, 1).flatten(1).numpy() * (high - low) + low


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_in_units_of_the_networks_change_as_pixels_do(digits, dtype, loss):
    X = pixels(digits, dtype)
    if loss == "mse" and dtype == np.float32:
        X = 3.0 * X - 7.0
    manifold = AutoencoderManifold(2, augment=OPERATIONS, loss=loss, **SMALL).fit(X)
    low, high = (0, 255) if dtype == np.uint8 else (X.min(), X.max())
    seen = (X - manifold.shift_) / manifold.scale_
    change = manifold._augment_on_device()
    rows = torch.tensor(seen, dtype=torch.float32)
    found = change(rows, torch.Generator().manual_seed(4)).numpy()
    found = found * manifold.scale_ + manifold.shift_
    expected = changed_by_hand(manifold, X.astype(np.float64), low, high, 4)
    assert_allclose(found, expected, atol=1e-4 * (high - low))
    assert np.abs(found - X).max() > 0.1 * (high - low)
    assert found.min() >= low - 1e-4 * (high - low)
    assert found.max() <= high + 1e-4 * (high - low)


@pytest.mark.parametrize("nothing", [None, (), {"rotate": 0.0}])
def test_no_operation_changes_no_bit(digits, nothing):
    X = pixels(digits)
    plain = AutoencoderManifold(2, **SMALL).fit(X)
    same = AutoencoderManifold(2, augment=nothing, **SMALL).fit(X)
    assert_array_equal(same.transform(X), plain.transform(X))
    other = AutoencoderManifold(2, augment=["shift"], **SMALL).fit(X)
    assert np.abs(other.transform(X) - plain.transform(X)).max() > 1e-3


def test_the_changed_image_is_input_and_target(digits):
    X = pixels(digits)
    seen = []

    class Identity(torch.nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x):
            if self.training:
                seen.append(x.detach().clone())
            return x + self.weight

    targets = []

    def loss(output, target):
        targets.append(target.clone())
        return (output - target).square().mean()

    manifold = AutoencoderManifold(
        64,
        encoder=Identity,
        decoder=Identity,
        loss=loss,
        augment={"flip": 1.0},
        batch_size=200,
        validation_fraction=0.0,
        **{**SMALL, "max_epochs": 1},
    ).fit(X)
    assert manifold.n_epochs_ == 1
    flipped = X.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)
    order = np.lexsort(seen[0].numpy().T), np.lexsort(flipped.T)
    assert_allclose(seen[0].numpy()[order[0]], flipped[order[1]], atol=1e-6)
    assert any(torch.equal(target, seen[0]) for target in targets)


def test_a_seed_a_clone_and_a_file(digits, tmp_path):
    images = pixels(digits, np.uint8).reshape(-1, 8, 8)
    manifold = AutoencoderManifold(
        2, augment=OPERATIONS, noise=0.1, **{**SMALL, "image_shape": None}
    ).fit(images)
    Z = manifold.transform(images)
    assert_array_equal(clone(manifold).fit(images).transform(images), Z)
    save(manifold, tmp_path / "manifold")
    loaded = load(tmp_path / "manifold")
    assert loaded.get_params()["augment"] == OPERATIONS
    assert_array_equal(loaded.transform(images), Z)
    one, two = manifold.partial_fit(images), loaded.partial_fit(images)
    assert_array_equal(one.transform(images), two.transform(images))


def test_a_resumed_fit_knows_its_augmentation(digits, tmp_path):
    X = pixels(digits)

    def stop(row):
        raise KeyboardInterrupt

    parameters = {"checkpoint": str(tmp_path), "augment": OPERATIONS, **SMALL}
    with pytest.raises(KeyboardInterrupt):
        AutoencoderManifold(2, callbacks=[stop], **parameters).fit(X)
    other = AutoencoderManifold(2, **{**parameters, "augment": ["flip"]}).fit(X)
    plain = AutoencoderManifold(2, augment=["flip"], **SMALL).fit(X)
    assert_array_equal(other.transform(X), plain.transform(X))


def test_strips_are_no_images(digits):
    parameters = {**SMALL, "image_shape": None, "augment": ["shift"]}
    manifold = AutoencoderManifold(2, **parameters)
    with pytest.raises(ValueError, match=r"2 by 2 pixels.*\(1, 1, 64\).*image_shape"):
        manifold.fit(pixels(digits))
    assert manifold.set_params(augment={"shift": 0.0}).fit(pixels(digits))


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        ("flip", TypeError, "augment must be None, a sequence"),
        ({"spin": 1.0}, ValueError, "got 'spin'"),
        ({"rotate": -1.0}, ValueError, r"augment\['rotate'\] must be"),
    ],
)
def test_operations_that_are_none(digits, value, error, match):
    with pytest.raises(error, match=match):
        AutoencoderManifold(2, augment=value, **SMALL).fit(pixels(digits))
