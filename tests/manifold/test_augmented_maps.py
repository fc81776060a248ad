"""Maps whose encoders see their images changed at random in training."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from manifoldgen import (
    DistilledManifold,
    NeighborManifold,
    TSNEManifold,
    UMAPManifold,
    load,
    save,
)
from manifoldgen.manifold import _umap

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "hidden_sizes": (16,),
    "max_epochs": 2,
    "image_shape": (1, 8, 8),
    "random_state": 0,
}
OPERATIONS = {"rotate": 20.0, "shift": 0.125, "color": 0.3, "noise": 0.1}
SHORT_TSNE = {"perplexity": 8, "early_exaggeration_iter": 10, "n_iter": 10}
NETWORK = {"placement": "network", "n_landmarks": 20}
MAPS = {
    "neighbours": NeighborManifold(n_landmarks=20, **SMALL),
    "neighbours in 5-d": NeighborManifold(5, **SMALL),
    "distilled": DistilledManifold(**SMALL),
    "t-sne": TSNEManifold(**SHORT_TSNE, **NETWORK, **SMALL),
    "umap": UMAPManifold(n_neighbors=8, n_epochs=10, **NETWORK, **SMALL),
}


@pytest.fixture(scope="module")
def images(digits):
    return (digits[0][:120] * 15).astype(np.uint8).reshape(-1, 8, 8)


@pytest.fixture(autouse=True)
def quick_umap(monkeypatch):
    """Spare the seconds that umap-learn compiles: only the networks are tested here."""

    def coordinates(rows, n_components, **parameters):
        flat = np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)
        return flat[:, 20 : 20 + n_components].copy(), np.zeros(len(rows), bool)

    monkeypatch.setattr(_umap, "umap_coordinates", coordinates)


class Wide(torch.nn.Module):
    """Returns rows, cut or filled to the width, and has a parameter to train."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.n_out = n_out
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        padding = x.new_zeros(len(x), max(self.n_out - x.shape[1], 0))
        return torch.cat([x[:, : self.n_out], padding], 1) + self.weight


@pytest.mark.parametrize("name", MAPS)
def test_a_seed_a_clone_and_a_file(name, images, tmp_path):
    plain = clone(MAPS[name]).fit(images)
    manifold = clone(MAPS[name]).set_params(augment=OPERATIONS).fit(images)
    Z = manifold.transform(images)
    assert np.abs(Z - plain.transform(images)).max() > 1e-3
    assert_array_equal(clone(manifold).fit(images).transform(images), Z)
    save(manifold, tmp_path / "map")
    loaded = load(tmp_path / "map")
    assert loaded.get_params()["augment"] == OPERATIONS
    assert_array_equal(loaded.transform(images), Z)


@pytest.mark.parametrize("nothing", [(), {"rotate": 0.0}])
def test_no_operation_changes_no_bit(images, nothing):
    plain = clone(MAPS["distilled"]).fit(images).transform(images)
    same = clone(MAPS["distilled"]).set_params(augment=nothing).fit(images)
    assert_array_equal(same.transform(images), plain)
    # nor does it where there is no encoder, which other changes would need
    parameters = {"placement": "neighbors", "augment": nothing}
    assert clone(MAPS["t-sne"]).set_params(**parameters).fit(images)


def seen_and_targets(manifold, X):
    """Return what encoder and loss got in the one step that `manifold` is given."""
    seen, targets = [], []

    class Encoder(Wide):
        def forward(self, x):
            if self.training and torch.is_grad_enabled():
                seen.append(x.detach().clone())
            return super().forward(x)

    def loss(output, target):
        if torch.is_grad_enabled():
            targets.append(target.clone())
        return (output - target).square().mean()

    manifold.set_params(
        encoder=Encoder,
        decoder=Wide,
        loss=loss,
        noise=0.0,
        augment={"flip": 1.0},
        batch_size=len(X),
        max_epochs=1,
        validation_fraction=0.0,
    ).fit(X)
    assert len(seen) == len(targets) == 1
    return seen[0].numpy(), targets[0].numpy()


def in_order(rows):
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("name", ["distilled", "t-sne", "umap"])
def test_changed_images_are_seen_and_unchanged_ones_returned(name, images):
    X = images.reshape(-1, 64) / np.float32(255)
    flipped = X.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)
    seen, target = seen_and_targets(clone(MAPS[name]), X)
    assert_allclose(in_order(seen), in_order(flipped), atol=1e-6)
    assert_allclose(in_order(target), in_order(X), atol=1e-6)
    back = target.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)
    assert_allclose(seen, back, atol=1e-6)  # row by row, so places are those of rows


@pytest.mark.parametrize(
    ("n_components", "weight", "keeps"),
    [(2, None, False), (3, 1.0, False), (4, None, True), (4, 0.0, False)],
)
def test_wide_maps_that_go_back_keep_the_change(images, n_components, weight, keeps):
    X = images.reshape(-1, 64) / np.float32(255)
    manifold = NeighborManifold(n_components, reconstruction_weight=weight, **SMALL)
    seen, target = seen_and_targets(manifold, X)
    assert len(seen) == 2 * len(target)  # rows and their neighbours
    flipped = X.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)
    assert_allclose(in_order(seen[: len(X)]), in_order(flipped), atol=1e-6)
    own = seen[: len(X)].reshape(-1, 8, 8)
    expected = own if keeps else own[:, :, ::-1]
    assert_allclose(target, expected.reshape(-1, 64), atol=1e-6)


def test_rows_that_join_a_map_are_changed_too(images):
    manifold = NeighborManifold(n_landmarks=20, augment=OPERATIONS, **SMALL)
    old, new = images[:80], images[80:]
    joined = clone(manifold).fit(old).partial_fit(new).transform(images)
    again = clone(manifold).fit(old).partial_fit(new).transform(images)
    assert_array_equal(joined, again)
    plain = clone(manifold).fit(old).set_params(augment=None).partial_fit(new)
    assert np.abs(plain.transform(images) - joined).max() > 1e-3


@pytest.mark.parametrize("name", MAPS)
def test_strips_are_no_images(name, images):
    manifold = clone(MAPS[name]).set_params(image_shape=None, augment=["shift"])
    with pytest.raises(ValueError, match=r"2 by 2 pixels.*\(1, 1, 64\).*image_shape"):
        manifold.fit(images.reshape(-1, 64))
    with pytest.raises(ValueError, match="got 'spin'"):
        manifold.set_params(augment={"spin": 1.0}).fit(images)


@pytest.mark.parametrize("name", ["t-sne", "umap"])
def test_places_by_neighbours_have_no_network_to_see_changes(name, images):
    manifold = clone(MAPS[name]).set_params(placement="neighbors", augment=["shift"])
    with pytest.raises(ValueError, match=r"augment must be None .* placement='network"):
        manifold.fit(images)
    assert not hasattr(manifold, "embedding_")
