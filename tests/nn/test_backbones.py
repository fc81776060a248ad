"""Networks with named layers: sizes, names of weights, and figures done by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from manifoldgen.nn import MLP
from manifoldgen.nn.backbones import (
    BACKBONES,
    VGG,
    FeatureNetwork,
    HookedNetwork,
    ResNet,
    vgg_or_resnet,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 32, generator=generator())


# of torchvision's networks, less those of their classifiers: 4096 * 4096 + 25088 * 4096
# + 4096 * 1000 weights and 9192 biases of a VGG, 512 or 2048 times 1000 of a ResNet
PARAMETERS = {
    "vgg11": 132_863_336 - 123_642_856,
    "resnet18": 11_689_512 - 513_000,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_are_as_large_as_published(name):
    assert name in BACKBONES
    network = vgg_or_resnet(name, generator())
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_weights_are_called_as_torchvision_calls_them():
    names = set(VGG(11, generator=generator()).state_dict())
    places = (0, 3, 6, 8, 11, 13, 16, 18)
    assert names == {f"features.{k}.{w}" for k in places for w in ("weight", "bias")}
    network = ResNet(50, generator())
    assert sum(p.numel() for p in network.parameters()) == 25_557_032 - 2_049_000
    names = set(network.state_dict())
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.conv3.weight",
        "layer1.0.downsample.0.weight",
        "layer4.2.bn3.num_batches_tracked",
    } <= names
    assert "layer1.1.downsample.0.weight" not in names
    assert "conv1.bias" not in names


def with_statistics(network):
    """Give batch normalisation other figures than 0 and 1, and put it to rest."""
    draw = generator(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1, generator=draw)
            layer.running_var.uniform_(0.5, 2.0, generator=draw)
    return network.eval()


@torch.no_grad()
def test_a_vgg_by_hand(images):
    network = with_statistics(VGG(13, normalized=True, generator=generator()))
    state = network.state_dict()
    x, place, found = images, 0, {}
    for block in range(1, 6):
        for k in (1, 2):
            w, n = f"features.{place}", f"features.{place + 1}"
            x = F.conv2d(x, state[f"{w}.weight"], state[f"{w}.bias"], padding=1)
            x = F.batch_norm(
                x, state[f"{n}.running_mean"], state[f"{n}.running_var"], eps=1e-5
            )
            x, place = F.relu(x), place + 3
            found[f"relu{block}_{k}"] = x
        x, place = F.max_pool2d(x, 2), place + 1
        found[f"pool{block}"] = x
    assert network.stage_names == tuple(found)
    assert x.shape == (2, 512, 1, 1)
    for name, got in zip(found, network.activations(images, found), strict=True):
        torch.testing.assert_close(got, found[name], rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 50])
def test_a_resnet_by_hand(depth, images):
    network = with_statistics(ResNet(depth, generator()))
    state = network.state_dict()

    def normalized(x, conv, norm, stride=1):
        weight = state[f"{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
        mean, var = (state[f"{norm}.running_{figure}"] for figure in ("mean", "var"))
        return F.batch_norm(x, mean, var, eps=1e-5)

    x = F.relu(normalized(images, "conv1", "bn1", 2))
    found = [F.max_pool2d(x, 3, 2, 1)]
    for layer, count in enumerate({18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth], 1):
        x = found[-1]
        for block in range(count):
            at, stride = f"layer{layer}.{block}.", 2 if layer > 1 and not block else 1
            short = x
            if f"{at}downsample.0.weight" in state:
                down = f"{at}downsample."
                short = normalized(x, f"{down}0", f"{down}1", stride)
            last = 3 if depth == 50 else 2
            for k in range(1, last + 1):
                step = stride if k == last - 1 else 1
                x = normalized(x, f"{at}conv{k}", f"{at}bn{k}", step)
                x = F.relu(x) if k < last else F.relu(x + short)
        found.append(x)
    names = ("stem", "layer1", "layer2", "layer3", "layer4")
    for want, got in zip(found, network.activations(images, names), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@torch.no_grad()
def test_a_small_network_by_hand():
    network = FeatureNetwork((1, 5, 4), (3,), (7, 2), "tanh", generator=generator())
    images = torch.randn(6, 1, 5, 4, generator=generator(2))
    state = network.state_dict()
    maps = torch.tanh(
        F.conv2d(
            images,
            state["convolutions.0.weight"],
            state["convolutions.0.bias"],
            padding=1,
        )
    )
    # the last of 5 rows is left alone
    pooled = torch.stack([maps[:, :, a : a + 2].mean(2) for a in (0, 2, 4)], 2)
    pooled = pooled.unflatten(3, (2, 2)).mean(4)
    hidden = pooled.flatten(1)
    want = [pooled]
    for k in (0, 1):
        weight, bias = (state[f"perceptron.layers.{k}.{w}"] for w in ("weight", "bias"))
        hidden = torch.tanh(hidden @ weight.T + bias)
        want.append(hidden)
    found = network.activations(images, ("conv1", "hidden1", "hidden2"))
    for a, b in zip(want, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network(images), want[-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (3, 2, 5), (2, 7, 1)])
def test_small_networks_take_images_of_any_size(shape):
    network = FeatureNetwork(shape, (4, 4, 4), (5,), generator=generator())
    assert network(torch.rand(3, *shape)).shape == (3, 5)


def test_a_network_without_layers_gives_pixels():
    network = FeatureNetwork((2, 3, 3), (), ())
    images = torch.rand(4, 2, 3, 3)
    assert network.stage_names == ("pixels",)
    assert network(images) is images


def test_no_layer_behind_the_last_one_wanted_is_computed():
    network = VGG(11, generator=generator())
    tiny = torch.rand(1, 3, 2, 2)  # too small for all but the first pooling
    assert network.activations(tiny, ("pool1",))[0].shape == (1, 64, 1, 1)
    with pytest.raises(RuntimeError, match="too small"):
        network(tiny)


def test_one_seed_gives_one_network_and_leaves_the_global_stream():
    before = torch.get_rng_state()
    first, second, other = (vgg_or_resnet("resnet18", generator(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    # He's variance, over 9 * 512 inputs and 2.4 million weights
    std = first.get_submodule("layer4.1.conv2").weight.std()
    np.testing.assert_allclose(std.item(), np.sqrt(2 / (9 * 512)), rtol=5e-3)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.head = MLP((4, 5, 2), generator=generator())

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))


def test_layers_of_a_module_are_its_parts(images):
    own = Own()
    network = HookedNetwork(own)
    assert network.n_channels == 3
    assert {"body", "body.0", "head.layers.1", "output"} <= set(network.stage_names)
    body, output = network.activations(images, ("body", "output"))
    torch.testing.assert_close(body, own.body(images))
    torch.testing.assert_close(output, own(images))
    assert not own.body._forward_hooks
    torch.testing.assert_close(network(images), own(images))
