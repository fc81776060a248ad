"""Networks of images beside slower routes to the same numbers."""

import pytest
import torch
from torch.nn import functional as F

from manifoldgen._random import torch_generator
from manifoldgen.nn import ConvEncoder
from manifoldgen.nn.games import zero_centred_penalty
from manifoldgen.nn.images import (
    ImageCritic,
    ImageGenerator,
    SpectralImageCritic,
)
from manifoldgen.nn.modules import convolve_upsampled

SHAPES = [(1, 8, 8), (3, 9, 6), (1, 1, 5), (2, 1, 1)]
SIZES = [((4, 6), (5,)), ((4,), ()), ((), (5, 3)), ((), ())]


def normal(*shape, seed=0):
    out = torch.empty(*shape, dtype=torch.float64)
    return out.normal_(generator=torch_generator(seed))


def spread(module, seed=1):
    """Return the module in float64, its biases away from 0."""
    generator = torch_generator(seed)
    module.double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(generator=generator)
    return module


@pytest.mark.parametrize("size", [(6, 10), (5, 9), (6, 9), (3, 5)])
def test_convolving_upsampled_images(size):
    x, weight, bias = normal(2, 3, 3, 5), normal(4, 3, 3, 3), normal(4)
    repeated = F.interpolate(x, size=size, mode="nearest")
    expected = F.conv2d(repeated, weight, bias, padding=1)
    torch.testing.assert_close(convolve_upsampled(x, weight, bias, size), expected)


@pytest.mark.parametrize(("channels", "hidden"), SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_generator_upsamples_convolves_and_ends_in_tanh(shape, channels, hidden):
    ours = spread(ImageGenerator(shape, 7, channels, hidden, torch_generator(0)))
    z, layers = normal(3, 7), ours.layers
    x = layers.head(z).reshape(-1, *layers.start)
    for layer, size in zip(layers.convolutions, layers.sizes[-2::-1], strict=True):
        x = layer(F.interpolate(F.leaky_relu(x, 0.2), size=size, mode="nearest"))
    torch.testing.assert_close(ours(z), torch.tanh(x.flatten(1)))


def autograd_critic(critic):
    """Return the value of rows by an encoder with the layers of the critic."""
    sizes = [layer.out_features for layer in critic.layers[:-1]]
    channels = [layer.out_channels for layer in critic.convolutions]
    plain = ConvEncoder(critic.image_shape, 1, channels, sizes, "leaky_relu").double()
    plain.convolutions.load_state_dict(critic.convolutions.state_dict())
    plain.head.layers.load_state_dict(critic.layers.state_dict())
    depth = critic.image_shape[0] if not channels else channels[-1]
    first = plain.head.linears[0]
    with torch.no_grad():
        by_place = first.weight.reshape(len(first.weight), -1, depth)
        first.weight.copy_(by_place.transpose(1, 2).flatten(1).clone())
    return lambda x: plain(x).squeeze(1)


@pytest.mark.parametrize(("channels", "hidden"), SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_critic_is_an_encoder(shape, channels, hidden):
    critic = spread(ImageCritic(shape, channels, hidden, 0, torch_generator(0)))
    plain = autograd_critic(critic)
    x = normal(4, torch.Size(shape).numel())
    torch.testing.assert_close(critic(x), plain(x))


def test_labels_enter_by_projection():
    critic = spread(ImageCritic((1, 8, 8), (4,), (5,), 3, torch_generator(0)))
    bare = ImageCritic((1, 8, 8), (4,), (5,)).double()
    bare.load_state_dict(critic.state_dict(), strict=False)
    features = []
    x, labels = normal(4, 64), torch.eye(3, dtype=torch.float64)[[0, 2, 1, 2]]
    with torch.no_grad():
        for unit in range(5):  # the features one by one, by a head that picks one
            bare.layers[-1].weight.copy_(torch.eye(5, dtype=torch.float64)[[unit]])
            bare.layers[-1].bias.zero_()
            features.append(bare(x))
    h = torch.stack(features, dim=1)
    w, b = critic.layers[-1].weight[0], critic.layers[-1].bias
    v = critic.labels[0].weight
    expected = torch.stack(
        [w @ h[row] + b[0] + v[y] @ h[row] for row, y in enumerate([0, 2, 1, 2])]
    )
    torch.testing.assert_close(critic(x, [labels]), expected)


def critics(shape, channels, hidden, n_classes):
    critic = spread(ImageCritic(shape, channels, hidden, n_classes, torch_generator(0)))
    return critic, SpectralImageCritic(critic, torch_generator(2))


@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize(("channels", "hidden"), SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_input_gradients_and_their_slopes_by_autograd(
    shape, channels, hidden, n_classes
):
    x = normal(4, torch.Size(shape).numel())
    labels = [torch.eye(3, dtype=torch.float64)[[0, 2, 1, 2]]] if n_classes else []
    for critic in critics(shape, channels, hidden, n_classes):
        parameters = list(critic.parameters())
        gradient = critic.input_gradient(x, labels)
        leaf = x.clone().requires_grad_(True)
        (expected,) = torch.autograd.grad(critic(leaf, labels).sum(), leaf)
        torch.testing.assert_close(gradient, expected)
        found = torch.autograd.grad(
            gradient.square().sum(1).mean(), parameters, allow_unused=True
        )
        penalty = zero_centred_penalty(lambda rows, c=critic: c(rows, labels), x)
        expected = torch.autograd.grad(penalty, parameters, allow_unused=True)
        for one, other in zip(found, expected, strict=True):
            zero = torch.zeros(())  # of biases, on either route
            one, other = (zero if g is None or not g.any() else g for g in (one, other))
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("n_classes", [0, 3])
def test_spectral_weights_have_singular_values_of_one(n_classes):
    critic, spectral = critics((3, 9, 6), (4, 6), (5,), n_classes)
    for _ in range(200):
        spectral.iterate()
    plain = [weight.clone() for weight in critic.weights()]
    used = spectral.weights()
    assert len(used) == 4 + bool(n_classes)
    for weight, before in zip(used, plain, strict=True):
        singular = torch.linalg.svdvals(weight.flatten(1))
        assert float(singular[0].detach()) == pytest.approx(1.0, abs=1e-6)
        size = torch.linalg.svdvals(before.flatten(1))[0]
        torch.testing.assert_close(weight, before / size)
    values = spectral(normal(2, 162), [torch.eye(3).double()[:2]] * bool(n_classes))
    spectral.settle()  # the plain critic is then the same function
    after = critic(normal(2, 162), [torch.eye(3).double()[:2]] * bool(n_classes))
    torch.testing.assert_close(values, after)


def test_a_layer_stretches_images_by_two_at_most():
    """Pixels are in up to 4 windows; by all singular values of the whole layer."""
    critic, spectral = critics((1, 8, 8), (5,), (), 0)
    spectral.settle()
    every_pixel = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
    weight = critic.convolutions[0].weight.detach()
    layer = F.conv2d(every_pixel, weight, stride=2, padding=1).flatten(1)
    assert 1.0 < float(torch.linalg.svdvals(layer)[0]) <= 2.0


@pytest.mark.parametrize(
    "build",
    [
        lambda g: ImageGenerator((1, 8, 8), 4, generator=g),
        lambda g: ImageCritic((1, 8, 8), n_classes=2, generator=g),
        lambda g: SpectralImageCritic(ImageCritic((1, 8, 8), generator=g), g),
    ],
)
def test_weights_come_from_the_generator_alone(build):
    before = torch.get_rng_state()
    one, other = (build(torch_generator(0)).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for name in one:
        assert torch.equal(one[name], other[name])
