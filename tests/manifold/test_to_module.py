"""The encoder of a manifold as a module: what transform returns, with slopes."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from manifoldgen import AutoencoderManifold, TSNEManifold, VAEManifold

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

X = load_digits().data[:120]
TINY = {"hidden_sizes": (12,), "max_epochs": 2, "random_state": 0}
MAP = TSNEManifold(perplexity=5, early_exaggeration_iter=5, n_iter=5, **TINY)
MANIFOLDS = {
    "perceptrons": AutoencoderManifold(3, **TINY),
    "whitened": AutoencoderManifold(3, whiten=True, **TINY),
    "convolutions": AutoencoderManifold(
        2, architecture="conv", image_shape=(1, 8, 8), channels=(3,), **TINY
    ),
    "variational": VAEManifold(3, **TINY),
    "map": clone(MAP).set_params(placement="network"),
}


@pytest.mark.parametrize("name", MANIFOLDS)
def test_the_module_does_what_transform_does(name):
    manifold = clone(MANIFOLDS[name]).fit(X)
    module = manifold.to_module()
    found = module(torch.from_numpy(X))
    expected = manifold.transform(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
    rows = torch.from_numpy(X[:5]).requires_grad_()
    module(rows).square().sum().backward()
    assert (rows.grad != 0).any(dim=1).all()


def test_bytes_and_large_means_keep_their_units():
    images = X.reshape(-1, 8, 8).astype(np.uint8) * 15
    manifold = clone(MANIFOLDS["perceptrons"]).fit(images)
    rows = torch.from_numpy(images.reshape(-1, 64)).float()
    np.testing.assert_allclose(
        manifold.to_module()(rows), manifold.transform(images), rtol=1e-4, atol=1e-5
    )
    far = clone(MANIFOLDS["perceptrons"]).fit(X + 1e6)
    found = far.to_module()(torch.from_numpy(X + 1e6))
    np.testing.assert_allclose(found, far.transform(X + 1e6), rtol=1e-4, atol=1e-5)


def test_the_module_is_a_copy():
    manifold = clone(MANIFOLDS["perceptrons"]).fit(X)
    before = manifold.transform(X)
    with torch.no_grad():
        for parameter in manifold.to_module().parameters():
            parameter.zero_()
    np.testing.assert_array_equal(manifold.transform(X), before)


def test_without_an_encoder_there_is_no_module():
    with pytest.raises(ValueError, match="placement='network'"):
        clone(MAP).fit(X).to_module()
    with pytest.raises(NotFittedError):
        AutoencoderManifold().to_module()
