"""Densities, divergences and bounds against torch.distributions and closed forms."""

import math

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

from manifoldgen.nn.likelihoods import (
    BernoulliLikelihood,
    GaussianLikelihood,
    NormalPrior,
    free_of_charge,
    importance_bound,
    kl_of_normals,
    log_bernoulli,
    log_normal,
    split_code,
)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def normal(mean, log_variance):
    return Normal(mean, (0.5 * log_variance).exp())


def test_normal_densities():
    x, mean, log_variance = draw(3, 5, 4), draw(5, 4, seed=1), draw(4, seed=2)
    expected = Independent(normal(mean, log_variance.expand(5, 4)), 1).log_prob(x)
    torch.testing.assert_close(log_normal(x, mean, log_variance), expected)


def test_bernoulli_probabilities():
    logits = 3 * draw(5, 4)
    x = (draw(5, 4, seed=1) > 0).double()
    expected = Independent(Bernoulli(logits=logits), 1).log_prob(x)
    torch.testing.assert_close(log_bernoulli(x, logits), expected)
    torch.testing.assert_close(BernoulliLikelihood()(x, logits), expected)
    far = log_bernoulli(torch.ones(1, 1), torch.tensor([[-1e4]]))
    assert float(far) == -1e4


@pytest.mark.parametrize("prior", ["standard", "numbers", "tensors"])
def test_divergences_of_normals(prior):
    mean, log_variance = draw(6, 3), draw(6, 3, seed=1)
    given = {
        "standard": (),
        "numbers": (0.7, -1.3),
        "tensors": (draw(6, 3, seed=2), draw(3, seed=3)),
    }[prior]
    parts = [torch.as_tensor(p).double().expand(6, 3) for p in given or (0.0, 0.0)]
    expected = kl_divergence(normal(mean, log_variance), normal(*parts))
    torch.testing.assert_close(kl_of_normals(mean, log_variance, *given), expected)


def test_free_nats_are_those_of_a_coordinate():
    divergence = torch.tensor([[0.0, 3.0], [0.2, 1.0]])
    assert float(free_of_charge(divergence, 0.0)) == pytest.approx(2.1)
    assert float(free_of_charge(divergence, 0.5)) == pytest.approx(2.5)
    assert float(free_of_charge(divergence, 2.5)) == pytest.approx(5.0)


def test_a_free_coordinate_is_not_pressed():
    divergence = torch.tensor([[0.1, 3.0], [0.1, 1.0]], requires_grad=True)
    free_of_charge(divergence, 0.5).backward()
    assert divergence.grad.tolist() == [[0.0, 0.5], [0.0, 0.5]]


def test_the_bound_is_the_logarithm_of_the_mean_weight():
    weights = torch.tensor([[1.0, 4.0], [3.0, 4.0]])
    expected = torch.tensor([2.0, 4.0]).double().log()
    torch.testing.assert_close(importance_bound(weights.log()), expected)
    far = torch.tensor([-2000.0, -2000.0 + math.log(3.0)])
    assert float(importance_bound(far)) == pytest.approx(-2000 + math.log(2), abs=1e-4)


def test_codes_are_means_and_bounded_logarithms():
    mean, log_variance = split_code(torch.tensor([[1.0, 2.0, -99.0, 99.0]]))
    assert mean.tolist() == [[1.0, 2.0]]
    assert log_variance.tolist() == [[-15.0, 10.0]]


def test_the_variance_is_learned_down_to_its_floor():
    likelihood = GaussianLikelihood()
    assert float(likelihood.variance.detach()) == pytest.approx(1.0, abs=1e-5)
    x, output = draw(100, 5).float(), torch.zeros(100, 5)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        (-likelihood(0.3 * x, output).mean()).backward()
        optimizer.step()
    expected = float((0.3 * x).square().mean())  # the maximum of the likelihood
    assert float(likelihood.variance.detach()) == pytest.approx(expected, rel=0.02)
    with torch.no_grad():
        likelihood.exponent.fill_(-50.0)
    assert float(likelihood.variance.detach()) == pytest.approx(1e-6)


def test_the_prior_of_all_classes_is_their_mixture():
    shares = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    prior = NormalPrior(3, 2, shares).double()
    with torch.no_grad():
        prior.mean.copy_(draw(3, 2))
        prior.log_variance.copy_(draw(3, 2, seed=1))
    parts = Independent(normal(prior.mean, prior.log_variance), 1)
    mixture = MixtureSameFamily(Categorical(shares), parts)
    z = draw(7, 4, 2, seed=2)
    expected = mixture.log_prob(z)
    torch.testing.assert_close(prior.log_density(z), expected, rtol=1e-6, atol=1e-6)
    codes = torch.tensor([2, 0, 1, 1, 2, 0])
    mean, log_variance = draw(6, 2, seed=3), draw(6, 2, seed=4)
    of = normal(prior.mean[codes], prior.log_variance[codes])
    torch.testing.assert_close(
        prior.divergence(mean, log_variance, codes),
        kl_divergence(normal(mean, log_variance), of),
    )


def test_without_classes_the_prior_is_standard_and_stays():
    prior = NormalPrior(0, 3)
    assert not any(p.requires_grad for p in prior.parameters())
    z = draw(5, 3).float()
    torch.testing.assert_close(
        prior.log_density(z), log_normal(z, torch.zeros(3), torch.zeros(3))
    )
    mean, log_variance = draw(5, 3, seed=1).float(), draw(5, 3, seed=2).float()
    torch.testing.assert_close(
        prior.divergence(mean, log_variance), kl_of_normals(mean, log_variance)
    )
