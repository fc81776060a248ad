"""Games by hand, by finite differences and with critics of known slope."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from manifoldgen._random import torch_generator
from manifoldgen.nn.games import (
    GAMES,
    critic_loss,
    generator_loss,
    interpolation_penalty,
    zero_centred_penalty,
)


def softplus(t):
    return math.log1p(math.exp(t))


REAL, FAKE = [2.0, -0.5, 0.25], [-3.0, 0.5, 1.0]

BY_HAND = {
    "relativistic": (
        (softplus(-5.0) + softplus(1.0) + softplus(0.75)) / 3,
        (softplus(5.0) + softplus(-1.0) + softplus(-0.75)) / 3,
    ),
    "hinge": ((0.0 + 1.5 + 0.75) / 3 + (0.0 + 1.5 + 2.0) / 3, 0.5),
    "wgan-gp": (-0.5 - 1.75 / 3, 0.5),
    "nonsaturating": (
        (softplus(-2.0) + softplus(0.5) + softplus(-0.25)) / 3
        + (softplus(-3.0) + softplus(0.5) + softplus(1.0)) / 3,
        (softplus(3.0) + softplus(-0.5) + softplus(-1.0)) / 3,
    ),
}


def test_the_games():
    assert set(GAMES) == set(BY_HAND)


@pytest.mark.parametrize("game", GAMES)
def test_losses_by_hand(game):
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    for_critic, for_generator = BY_HAND[game]
    assert float(critic_loss(game, real, fake)) == pytest.approx(for_critic, rel=1e-6)
    found = float(generator_loss(game, fake, real))
    assert found == pytest.approx(for_generator, rel=1e-6)


@pytest.mark.parametrize("game", GAMES)
def test_losses_descend_the_right_way(game):
    """The critic gains by raising real values, the generator by raising its own."""
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)

    def slope(loss, values):
        step = 1e-3
        return float(loss(values + step) - loss(values - step)) / (2 * step)

    assert slope(lambda v: critic_loss(game, v, fake), real) < -1e-2
    assert slope(lambda v: critic_loss(game, real, v), fake) > 1e-2
    assert slope(lambda v: generator_loss(game, v, real), fake) < -1e-2


@pytest.mark.parametrize("game", GAMES)
def test_losses_survive_far_values(game):
    far = torch.tensor([-1e4, 1e4])
    assert torch.isfinite(critic_loss(game, far, far.flip(0)))
    assert torch.isfinite(generator_loss(game, far, far.flip(0)))


def linear_critic(weight):
    return lambda x: x.flatten(1) @ weight


def test_penalties_of_a_linear_critic():
    """Its slope is that of its weights wherever it is asked."""
    generator = torch_generator(0)
    weight = torch.empty(12, dtype=torch.float64).normal_(generator=generator)
    rows = torch.empty(2, 5, 3, 4, dtype=torch.float64).normal_(generator=generator)
    norm = float(weight.norm())
    critic = linear_critic(weight)
    assert float(zero_centred_penalty(critic, rows[0])) == pytest.approx(norm**2)
    found = float(interpolation_penalty(critic, *rows, torch_generator(1)))
    assert found == pytest.approx((norm - 1) ** 2)


def bent_critic():
    generator = torch_generator(3)
    critic = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))
    critic.double()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.normal_(generator=generator)
    return critic


def gradients_by_differences(critic, x, step=1e-6):
    out = torch.zeros_like(x)
    for column in range(x.shape[1]):
        move = torch.zeros(x.shape[1], dtype=x.dtype)
        move[column] = step
        out[:, column] = (critic(x + move) - critic(x - move)).detach() / (2 * step)
    return out


def two_samples(n=6):
    rows = torch.empty(2, n, 3, dtype=torch.float64)
    return rows.normal_(generator=torch_generator(7))


def test_the_zero_centred_penalty_by_differences():
    critic, x = bent_critic(), two_samples()[0]
    expected = gradients_by_differences(critic, x).square().sum(1).mean()
    found = zero_centred_penalty(critic, x).detach()
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_the_interpolation_penalty_is_taken_between_the_rows():
    critic, (real, fake) = bent_critic(), two_samples()
    place = torch.empty(6, 1, dtype=torch.float64)
    place.uniform_(generator=torch_generator(5))
    between = real + place * (fake - real)
    norms = gradients_by_differences(critic, between).norm(dim=1)
    found = interpolation_penalty(critic, real, fake, torch_generator(5))
    assert float(found) == pytest.approx(float((norms - 1).square().mean()), rel=1e-6)


@pytest.mark.parametrize("penalty", ["zero_centred", "interpolation"])
def test_the_slopes_of_penalties_by_differences(penalty):
    """What the critic descends: the slope of the penalty by its weights."""
    critic, (real, fake) = bent_critic(), two_samples()

    def value():
        if penalty == "zero_centred":
            return zero_centred_penalty(critic, real)
        return interpolation_penalty(critic, real, fake, torch_generator(5))

    weight, step = critic[0].weight, 1e-5
    (found,) = torch.autograd.grad(value(), weight)
    expected = np.zeros(weight.shape)
    for at in np.ndindex(*weight.shape):
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                weight[at] += sign * step
            ends.append(float(value()))
            with torch.no_grad():
                weight[at] -= sign * step
        expected[at] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_a_flat_critic_has_a_penalty_with_finite_slopes():
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    real, fake = two_samples()
    found = interpolation_penalty(linear_critic(weight), real, fake, torch_generator(0))
    assert found.item() == pytest.approx(1.0, abs=1e-5)
    found.backward()
    assert torch.isfinite(weight.grad).all()


def test_the_rows_and_the_global_generator_are_left_alone():
    critic, (real, fake) = bent_critic(), two_samples()
    fake.requires_grad_(True)
    before = torch.get_rng_state()
    interpolation_penalty(critic, real, fake, torch_generator(0)).backward()
    assert fake.grad is None
    assert torch.equal(before, torch.get_rng_state())
