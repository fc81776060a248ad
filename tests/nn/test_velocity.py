"""The velocity field, how it is followed, and the density that it carries."""

import math

import pytest
import torch

from manifoldgen.nn import VelocityField, follow, linear_velocity, log_density


@pytest.fixture
def field():
    source = torch.Generator().manual_seed(0)
    field = VelocityField(4, 3, (16, 24), source).double()
    with torch.no_grad():
        field.last.weight.normal_(generator=source)
    return field


@pytest.fixture
def batch():
    source = torch.Generator().manual_seed(1)
    x = torch.randn(6, 4, generator=source, dtype=torch.float64)
    t = torch.rand(6, 1, generator=source, dtype=torch.float64)
    return x, t, (torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1, 2]],)


def test_untrained_field_is_the_flow_to_a_normal_distribution():
    field = VelocityField(2, 0, (8,))
    x, t = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.25]])
    # (2 t - 1) / (t^2 + (1 - t)^2) = -.5 / .625
    torch.testing.assert_close(field(x, t), x * -0.8)


def test_linear_velocity_is_the_regression_of_straight_ways():
    source = torch.Generator().manual_seed(0)
    noise, rows = torch.randn(2, 200_000, generator=source, dtype=torch.float64)
    for time in (0.1, 0.5, 0.8):
        x = time * rows + (1 - time) * noise
        slope = ((rows - noise) @ x) / (x @ x)
        at = torch.tensor([[time]], dtype=torch.float64)
        found = linear_velocity(torch.ones(1, 1, dtype=torch.float64), at)
        assert float(found) == pytest.approx(float(slope), abs=0.01)


def test_divergence_is_the_trace_of_the_derivative(field, batch):
    x, t, labels = batch
    v, divergence = field.with_divergence(x, t, labels)
    torch.testing.assert_close(v, field(x, t, labels))
    for i in range(len(x)):
        label = labels[0][i : i + 1]
        jacobian = torch.func.jacrev(
            lambda row, i=i, label=label: field(row[None], t[i : i + 1], (label,))[0]
        )(x[i])
        torch.testing.assert_close(divergence[i], jacobian.trace())


def test_a_wider_field_adds_a_standard_normal_column(field, batch):
    x, t, labels = batch
    wide = field.widened()
    padded = torch.nn.functional.pad(x, (0, 1))
    torch.testing.assert_close(wide(padded, t, labels)[:, :-1], field(x, t, labels))
    found = log_density(wide, padded, labels, 16)
    expected = log_density(field, x, labels, 16) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(found, expected)


def test_every_parameter_gets_a_gradient(field, batch):
    x, t, labels = batch
    field(x, t, labels).square().sum().backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def affine(x, t):
    """Take standard normal noise to a normal distribution of mean 3 and sd 2."""
    spread = 2 * t
    variance = spread**2 + (1 - t) ** 2
    slope = (4 * t - (1 - t)) / variance
    return 3 + slope * (x - 3 * t)


class Affine:
    def with_divergence(self, x, t, labels=()):
        slope = (4 * t - (1 - t)) / ((2 * t) ** 2 + (1 - t) ** 2)
        return affine(x, t), slope.squeeze(1) * x.shape[1]


def test_solvers_reach_a_known_end():
    x = torch.tensor([[0.0], [1.0], [-1.5]], dtype=torch.float64)
    end = 3 + 2 * x
    by_heun = (follow(affine, x, 50) - end).abs().max()
    by_euler = (follow(affine, x, 50, "euler") - end).abs().max()
    assert by_heun < 1e-2 < by_euler < 0.1
    # a method of the second order gains about a factor of 4 from twice the steps
    assert (follow(affine, x, 100) - end).abs().max() < by_heun / 3


def test_log_density_of_a_normal_distribution():
    x = torch.tensor([[3.0, 3.0], [5.0, 1.0]], dtype=torch.float64)
    found = log_density(Affine(), x, (), 16)
    expected = -0.5 * ((x - 3) / 2).square().sum(1) - math.log(2 * math.pi * 4)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
