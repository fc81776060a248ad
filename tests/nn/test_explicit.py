"""The passes that are written out, against autograd."""

import pytest
import torch

from manifoldgen.manifold import AutoencoderManifold, AutoencoderProgram
from manifoldgen.nn import (
    ACTIVATIONS,
    LOSS_AND_SLOPE,
    MLP,
    Critic,
    ExplicitPasses,
    critic_backward,
    critic_forward,
)
from manifoldgen.nn.losses import RECONSTRUCTION
from manifoldgen.training import make_optimizer


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def five_steps(activation, loss, sizes, explicit):
    encoder = MLP(sizes, activation, generator=seeded(0)).double()
    decoder = MLP(sizes[::-1], activation, generator=seeded(1)).double()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    program = AutoencoderProgram(
        encoder,
        decoder,
        make_optimizer("adam", parameters, 1e-2),
        RECONSTRUCTION[loss],
        noise=0.1,
        latent_penalty=0.3,
        decoder_penalty=0.01,
    )
    assert program._explicit is not None
    if not explicit:
        program._explicit = None
    x = torch.rand(11, sizes[0], dtype=torch.double, generator=seeded(2))
    source = seeded(3)
    losses = [program.step((x,), source)["loss"] for _ in range(5)]
    return torch.stack(losses), torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize("sizes", [(7, 5, 4, 2), (7, 2)])
@pytest.mark.parametrize("loss", list(RECONSTRUCTION))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_five_steps_equal_those_of_autograd(activation, loss, sizes):
    written = five_steps(activation, loss, sizes, explicit=True)
    reference = five_steps(activation, loss, sizes, explicit=False)
    for ours, theirs in zip(written, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


def test_slope_at_the_input_is_that_of_autograd():
    mlp = MLP((4, 6, 3), "silu", generator=seeded(0)).double()
    make_optimizer("sgd", mlp.parameters(), 0.1)
    x = torch.randn(5, 4, dtype=torch.double, generator=seeded(1), requires_grad=True)
    (expected,) = torch.autograd.grad(mlp(x).square().sum(), x)
    passes = ExplicitPasses(mlp)
    output, trace = passes.forward(x.detach())
    slope = passes.backward(2 * output, trace, to_input=True)
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize("loss", list(LOSS_AND_SLOPE))
def test_slopes_of_losses_are_those_of_autograd(loss):
    output = torch.randn(4, 3, dtype=torch.double, generator=seeded(0))
    target = torch.rand(4, 3, dtype=torch.double, generator=seeded(1))
    output.requires_grad_()
    value = loss(output, target)
    (expected,) = torch.autograd.grad(value, output)
    written, slope = LOSS_AND_SLOPE[loss](output.detach(), target)
    torch.testing.assert_close(written, value.detach())
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5},
        {"architecture": "conv"},
        {"precision": "bf16"},
        {"loss": lambda output, target: (output - target).abs().mean()},
    ],
    ids=["dropout", "conv", "bf16", "callable loss"],
)
def test_other_programs_go_through_autograd(options, monkeypatch):
    def refuse(self, seen, x, jitter):
        raise AssertionError("explicit passes where they do not hold")

    monkeypatch.setattr(AutoencoderProgram, "_backward_explicit", refuse)
    rows = torch.rand(32, 8, generator=seeded(0)).numpy()
    AutoencoderManifold(max_epochs=1, random_state=0, **options).fit(rows)
    with pytest.raises(AssertionError, match="explicit"):
        AutoencoderManifold(max_epochs=1, random_state=0).fit(rows)


def critic_and_rows(hidden_sizes):
    critic = Critic(4, hidden_sizes, seeded(0)).double()
    for layer in critic.layers:
        layer.bias.data.normal_(generator=seeded(2))
    x = torch.randn(20, 4, dtype=torch.double, generator=seeded(1), requires_grad=True)
    return critic, x


@pytest.mark.parametrize("hidden_sizes", [(), (7,), (9, 5, 6)])
def test_values_and_input_gradients_of_a_critic_are_those_of_autograd(hidden_sizes):
    critic, x = critic_and_rows(hidden_sizes)
    before = x.detach().clone()
    done = critic_forward(critic.weights(), critic.slope, x.detach())
    value = critic(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(done.value, value.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(done.gradient, gradient, rtol=1e-12, atol=1e-14)
    assert torch.equal(x, before)


@pytest.mark.parametrize("penalized", [False, True])
@pytest.mark.parametrize("hidden_sizes", [(), (7,), (9, 5, 6)])
def test_slopes_of_values_and_input_gradients_are_those_of_autograd(
    hidden_sizes, penalized
):
    critic, x = critic_and_rows(hidden_sizes)
    weights = critic.weights()
    done = critic_forward(weights, critic.slope, x.detach())
    at_gradient = 4 * done.gradient**3 if penalized else None
    found = critic_backward(weights, done, torch.cos(done.value), at_gradient)
    value = critic(x)
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    loss = torch.sin(value).sum() + (gradient**4).sum() * penalized
    expected = torch.autograd.grad(loss, list(critic.parameters()))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)
