"""Optimizers and schedules against their formulas, written out in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from manifoldgen.training import OPTIMIZERS, SCHEDULES, make_optimizer, schedule_factor
from manifoldgen.training.optimizers import flatten

GRADIENTS = np.random.RandomState(0).standard_normal((6, 4))
START = np.array([0.5, -1.0, 2.0, 0.0])


def adam(gradients, w, rate, decay, betas, decoupled):
    """Kingma and Ba 2015, Algorithm 1; Loshchilov and Hutter 2019, Algorithm 2."""
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        g = g if decoupled else g + decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        shrunk = w * (1 - rate * decay) if decoupled else w
        w = shrunk - rate * m_hat / (np.sqrt(v_hat) + 1e-8)
    return w


def nesterov(gradients, w, rate, decay, momentum=0.9):
    """Sutskever et al. 2013, in the form of torch: the first velocity is the slope."""
    velocity = None
    for g in gradients:
        g = g + decay * w
        velocity = g if velocity is None else momentum * velocity + g
        w = w - rate * (g + momentum * velocity)
    return w


def rmsprop(gradients, w, rate, decay, alpha=0.99):
    """Tieleman and Hinton 2012, lecture 6.5: over the root of the mean square."""
    square = np.zeros_like(w)
    for g in gradients:
        g = g + decay * w
        square = alpha * square + (1 - alpha) * g**2
        w = w - rate * g / (np.sqrt(square) + 1e-8)
    return w


def expected(name, rate, decay, betas):
    if name == "rmsprop":
        return rmsprop(GRADIENTS, START, rate, decay)
    if name == "sgd":
        return nesterov(GRADIENTS, START, rate, decay)
    return adam(GRADIENTS, START, rate, decay, betas, decoupled=name == "adamw")


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_six_steps_by_hand(name, betas, decay):
    # two parameters of other shapes, so that their places in the vector count
    first = nn.Parameter(torch.tensor(START[:1]))
    second = nn.Parameter(torch.tensor(START[1:])[None])
    optimizer = make_optimizer(name, [first, second], 0.05, decay, betas)
    for g in torch.tensor(GRADIENTS):
        optimizer.zero_grad(set_to_none=False)
        (first @ g[:1] + (second * g[1:]).sum()).backward()
        optimizer.step()
    found = torch.cat([first, second[0]]).detach().numpy()
    np.testing.assert_allclose(found, expected(name, 0.05, decay, betas), rtol=1e-10)


def test_one_vector_holds_parameters_and_gradients():
    layer = nn.Linear(3, 2)
    values = [p.detach().clone() for p in layer.parameters()]
    frozen = nn.Parameter(torch.ones(4), requires_grad=False)
    flat = flatten([*layer.parameters(), frozen, layer.weight])
    assert flat.shape == (8,)  # each once, and no frozen one
    for p, value in zip(layer.parameters(), values, strict=True):
        assert torch.equal(p, value)
    layer(torch.ones(1, 3)).sum().backward()
    np.testing.assert_array_equal(flat.grad, np.ones(8))
    flat.zero_()
    assert not layer.weight.any()
    assert not layer.bias.any()


def test_frozen_parameters_stay():
    layer = nn.Linear(2, 1)
    layer.bias.requires_grad_(False)
    before = layer.bias.clone()
    optimizer = make_optimizer("sgd", layer.parameters(), 0.1, weight_decay=0.5)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(layer.bias, before)


CLOSED_FORMS = {
    "constant": lambda u: 1.0,
    "linear": lambda u: 1.0 - u,
    "cosine": lambda u: (1 + math.cos(math.pi * u)) / 2,
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_schedules_by_their_formula(name):
    for epoch in range(12):
        u = epoch / 12
        assert schedule_factor(name, epoch, 12) == pytest.approx(CLOSED_FORMS[name](u))


def test_one_cycle_rises_to_one_at_30_percent_and_falls():
    factors = [schedule_factor("one_cycle", epoch, 100) for epoch in range(100)]
    assert factors[0] == pytest.approx(0.04)
    assert factors[15] == pytest.approx((0.04 + 1) / 2)
    assert factors[30] == pytest.approx(1.0)
    assert factors[65] == pytest.approx(0.5)
    assert (np.diff(factors[:31]) > 0).all()
    assert (np.diff(factors[30:]) < 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_and_stays_positive(name):
    for max_epochs in (1, 2, 7):
        factors = [schedule_factor(name, e, max_epochs) for e in range(max_epochs)]
        assert all(0 < factor <= 1 for factor in factors)
