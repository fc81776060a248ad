"""Networks against torch's own layers, autograd and arithmetic."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from manifoldgen.nn import (
    ACTIVATIONS,
    MLP,
    ConvDecoder,
    ConvEncoder,
    Critic,
    Dropout,
    FourierFeatures,
    SpectralCritic,
    bind_generator,
)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


TORCH_ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 3), (1, 4, 4, 1)])
def test_a_perceptron_is_a_sequence_of_layers(activation, sizes):
    network = MLP(sizes, activation, generator=stream())
    parts = []
    for n_in, n_out in pairwise(sizes):
        parts += [nn.Linear(n_in, n_out), TORCH_ACTIVATIONS[activation]()]
    reference = nn.Sequential(*parts[:-1])
    values = list(network.parameters())
    for mine, theirs in zip(values, reference.parameters(), strict=True):
        theirs.data = mine.detach().clone()
    x = torch.randn(11, sizes[0], generator=stream(1))
    torch.testing.assert_close(network(x), reference(x), rtol=1e-6, atol=1e-6)
    network(x).square().sum().backward()
    reference(x).square().sum().backward()
    for mine, theirs in zip(values, reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_he_weights_and_zero_biases():
    network = MLP((200, 300, 100), generator=stream())
    for layer, fan_in in zip(network.layers, (200, 300), strict=True):
        bound = math.sqrt(6 / fan_in)
        assert float(layer.weight.detach().abs().max()) <= bound
        # uniform on [-b, b]: standard deviation b / sqrt(3), known to 0.5 % here
        std = float(layer.weight.detach().std())
        assert std == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)
        assert not layer.bias.any()


BUILDERS = {
    "perceptron": lambda g: MLP((4, 8, 2), generator=g),
    "critic": lambda g: Critic(4, (8,), g),
    "spectral critic": lambda g: SpectralCritic(Critic(4, (8,), g), g),
    "encoder": lambda g: ConvEncoder((1, 4, 4), 2, (3,), (5,), "silu", 0.0, g),
    "decoder": lambda g: ConvDecoder((1, 4, 4), 2, (3,), (5,), "silu", 0.0, g),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_weights_come_from_the_generator_alone(name):
    before = torch.get_rng_state()
    one, again, other = (
        BUILDERS[name](stream(seed)).state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for key in one:
        assert torch.equal(one[key], again[key])
        if key.endswith("weight"):
            assert not torch.equal(one[key], other[key])


@pytest.mark.parametrize("name", BUILDERS)
def test_every_parameter_gets_a_gradient(name):
    network = BUILDERS[name](stream())
    width = 2 if name == "decoder" else 16 if name == "encoder" else 4
    network(torch.randn(32, width, generator=stream(1))).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


# --------------------------------------------------------------------------- dropout


def test_dropout_zeroes_a_share_and_keeps_the_mean():
    layer = Dropout(0.3)
    layer.generator = stream()
    out = layer(torch.ones(200, 500))
    values = out.unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.7]))
    # 100,000 coins: standard errors 0.0014 of the share and 0.0021 of the mean
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.007)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.01)


def test_dropout_draws_from_its_generator_alone():
    x, before = torch.ones(50, 50), torch.get_rng_state()
    network = nn.Sequential(Dropout(0.5), nn.Identity(), Dropout(0.5))
    bind_generator(network, stream(3))
    one = network(x)
    assert not torch.equal(one, network(x))
    bind_generator(network, stream(3))
    assert torch.equal(one, network(x))
    bind_generator(network, stream(4))
    assert not torch.equal(one, network(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_rests_in_evaluation():
    layer = Dropout(0.9).eval()
    x = torch.randn(4, 4, generator=stream())
    assert layer(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize(
    ("network", "width"),
    [
        (MLP((6, 50, 50, 3), dropout=0.5), 6),
        (ConvEncoder((1, 4, 4), 3, (20,), dropout=0.5), 16),
        (ConvDecoder((1, 4, 4), 3, (20,), dropout=0.5), 3),
    ],
    ids=["perceptron", "encoder", "decoder"],
)
def test_dropout_is_at_work_inside_the_networks(network, width):
    x = torch.randn(4, width, generator=stream())
    bind_generator(network.train(), stream(1))
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


# ---------------------------------------------------------------------------- critic


@pytest.mark.parametrize("hidden_sizes", [(), (7,), (9, 5, 6)])
def test_the_critic_is_a_leaky_perceptron(hidden_sizes):
    critic = Critic(4, hidden_sizes, stream()).double()
    reference = MLP((4, *hidden_sizes, 1), "leaky_relu").double()
    reference.load_state_dict(critic.state_dict())
    x = torch.randn(6, 4, dtype=torch.float64, generator=stream(1))
    torch.testing.assert_close(critic(x), reference(x)[:, 0])


def singular_values(layers):
    return [
        np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)[0]
        for layer in layers
    ]


def test_spectral_normalisation_against_numpy():
    plain = Critic(6, (20, 9), stream()).double()
    reference = MLP((6, 20, 9, 1), "leaky_relu").double()
    reference.load_state_dict(plain.state_dict())
    for layer, size in zip(
        reference.layers, singular_values(plain.layers), strict=True
    ):
        layer.weight.data /= size
    critic = SpectralCritic(plain, stream(1))
    x = torch.randn(30, 6, dtype=torch.float64, generator=stream(2))
    early = (critic(x) - reference(x)[:, 0]).abs().max()
    for _ in range(500):
        critic.iterate()
    torch.testing.assert_close(critic(x), reference(x)[:, 0], rtol=1e-9, atol=1e-9)
    assert early > 1e-9  # which the iterations had to mend
    critic.settle()
    np.testing.assert_allclose(singular_values(plain.layers), 1.0, rtol=1e-12)
    torch.testing.assert_close(plain(x), reference(x)[:, 0], rtol=1e-9, atol=1e-9)


def test_the_gradient_goes_through_the_estimated_singular_value():
    critic = SpectralCritic(Critic(3, (4,), stream()).double(), stream(1))
    x = torch.randn(5, 3, dtype=torch.float64, generator=stream(2))
    parameters = list(critic.parameters())
    assert torch.autograd.gradcheck(
        lambda *_: critic(x), parameters, eps=1e-6, atol=1e-8
    )
    # a longer weight is the same critic, so there is no slope along it
    (slope,) = torch.autograd.grad(critic(x).sum(), parameters[0])
    assert abs(float((slope * parameters[0].detach()).sum())) < 1e-12


def test_a_weight_of_zeros_has_no_spectral_norm():
    plain = Critic(3, (4,), stream())
    for layer in plain.layers:
        layer.weight.data.zero_()
    critic = SpectralCritic(plain, stream(1))
    critic.settle()
    assert not critic(torch.ones(2, 3)).any()


# ---------------------------------------------------------------------- convolutions

SHAPES = [
    (1, 8, 8),
    (3, 7, 5),
    (1, 1, 9),
    (2, 13, 1),
    (1, 1, 1),
    (1, 28, 28),
    (4, 2, 3),
]


@pytest.mark.parametrize("channels", [(), (4,), (4, 6, 8)])
@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_size_there_and_back(shape, channels):
    encoder = ConvEncoder(shape, 2, channels, generator=stream())
    decoder = ConvDecoder(shape, 2, channels, generator=stream())
    x = torch.randn(5, math.prod(shape), generator=stream(1))
    z = encoder(x)
    assert z.shape == (5, 2)
    assert decoder(z).shape == x.shape


def test_an_encoder_without_convolutions_is_linear():
    encoder = ConvEncoder((2, 3, 3), 4, (), generator=stream())
    x = torch.randn(5, 18, generator=stream(1))
    torch.testing.assert_close(encoder(x), encoder.head(x))


def test_the_encoder_sees_rows_as_channels_height_width():
    # one convolution, whose only weight that is not 0 is the centre: a pick of pixels
    encoder = ConvEncoder((2, 4, 4), 4, (1,), (), "relu", generator=stream())
    with torch.no_grad():
        (layer,) = encoder.convolutions
        layer.weight.zero_()
        layer.weight[0, 1, 1, 1] = 1.0
        encoder.head.linears[0].weight.copy_(torch.eye(4))
    image = torch.arange(32.0).reshape(1, 2, 4, 4)
    expected = image[:, 1, ::2, ::2].flatten(1)
    torch.testing.assert_close(encoder(image.flatten(1)), expected)


def test_the_decoder_enlarges_by_nearest_neighbours():
    decoder = ConvDecoder((1, 5, 4), 6, (1,), (), "relu", generator=stream())
    assert decoder.start == (1, 3, 2)
    with torch.no_grad():
        decoder.head.linears[0].weight.copy_(torch.eye(6))
        (layer,) = decoder.convolutions
        layer.weight.zero_()
        layer.weight[0, 0, 1, 1] = 1.0
    small = np.arange(6.0).reshape(3, 2)
    rows, columns = np.arange(5) * 3 // 5, np.arange(4) * 2 // 4
    out = decoder(torch.tensor(small, dtype=torch.float32).reshape(1, 6))
    np.testing.assert_array_equal(
        out.detach().numpy().reshape(5, 4), small[np.ix_(rows, columns)]
    )


def test_waves_are_the_sines_and_cosines_of_directions():
    waves = FourierFeatures(2, 5, 3.0, torch.Generator().manual_seed(0))
    x = torch.randn(7, 2, generator=torch.Generator().manual_seed(1))
    angles = x.numpy() @ waves.waves.numpy()
    expected = np.concatenate([x.numpy(), np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(waves(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    many = FourierFeatures(2, 20_000, 3.0, torch.Generator().manual_seed(0))
    assert float(many.waves.std()) == pytest.approx(3.0, rel=0.02)
    assert set(waves.state_dict()) == {"waves"}  # saved files keep the directions
