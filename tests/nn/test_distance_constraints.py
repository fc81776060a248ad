"""Distances with gradients, what rows descend, and the multiplier, by hand."""

import copy

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance
from torch import nn

from manifoldgen.nn.constraints import (
    AugmentedLagrangian,
    DistanceConstraint,
    MahalanobisDistance,
    hinge_excess,
    law_distance,
    mean_excess,
    tail_excess,
    violation_rate,
)

RNG = np.random.RandomState(0)
MIXED = RNG.standard_normal((3, 3))
WHITENING = torch.from_numpy(MIXED)
MEANS = torch.from_numpy(RNG.standard_normal((2, 3)))
ROWS = torch.from_numpy(RNG.standard_normal((7, 3)))
SQUARED = torch.tensor([1.0, 4.0, 9.0, 16.0, 2.0], dtype=torch.float64)


def by_scipy():
    inverse = MIXED @ MIXED.T
    return cdist(ROWS, MEANS, "mahalanobis", VI=inverse) ** 2


def test_distances_are_those_of_the_covariance():
    expected = by_scipy()
    distance = MahalanobisDistance(MEANS, WHITENING)
    np.testing.assert_allclose(distance.to_classes(ROWS), expected, rtol=1e-10)
    np.testing.assert_allclose(distance(ROWS), expected.min(axis=1), rtol=1e-10)
    codes = torch.tensor([0, 1, 0, 1, 1, 0, 0])
    np.testing.assert_allclose(
        distance(ROWS, codes), expected[range(7), codes], rtol=1e-10
    )
    one = MahalanobisDistance(MEANS[:1], WHITENING)
    np.testing.assert_allclose(one(ROWS), expected[:, 0], rtol=1e-10)


def test_the_soft_minimum_is_that_of_the_formula_and_tends_to_the_minimum():
    expected = by_scipy()
    soft = MahalanobisDistance(MEANS, WHITENING, temperature=2.0)(ROWS)
    formula = -2.0 * np.log(np.exp(-expected / 2.0).sum(axis=1))
    np.testing.assert_allclose(soft, formula, rtol=1e-10)
    least = expected.min(axis=1)
    assert (soft.numpy() <= least).all()
    assert (soft.numpy() >= least - 2.0 * np.log(2)).all()
    nearly = MahalanobisDistance(MEANS, WHITENING, temperature=1e-3)(ROWS)
    np.testing.assert_allclose(nearly, least, atol=1e-3)


@pytest.mark.parametrize("temperature", [0.0, 2.0])
@pytest.mark.parametrize("codes", [None, torch.tensor([0, 1, 0, 1, 1, 0, 0])])
def test_slopes_of_distances(temperature, codes):
    distance = MahalanobisDistance(MEANS, WHITENING, temperature)
    rows = ROWS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: distance(x, codes), rows)


def test_a_large_mean_costs_no_digits_in_float32_products():
    far = MEANS[:1] + 1e6
    distance = MahalanobisDistance(far, WHITENING.float())
    np.testing.assert_allclose(distance(ROWS + 1e6), by_scipy()[:, 0], rtol=1e-5)


def test_forms_by_hand():
    # D^2 / 4 - 1 = -.75, 0, 1.25, 3, -.5
    assert float(mean_excess(SQUARED, 2.0)) == pytest.approx(0.6)
    assert float(hinge_excess(SQUARED, 2.0)) == pytest.approx(4.25 / 5)
    assert float(tail_excess(SQUARED, 2.0, 0.2)) == pytest.approx(3.0)
    assert float(tail_excess(SQUARED, 2.0, 0.4)) == pytest.approx(4.25 / 2)
    # a row and a half: (3 + 1.25 / 2) / 1.5
    assert float(tail_excess(SQUARED, 2.0, 0.3)) == pytest.approx(3.625 / 1.5)
    assert float(tail_excess(SQUARED, 2.0, 1.0)) == pytest.approx(0.6)
    assert float(tail_excess(SQUARED, 2.0, 0.01)) == pytest.approx(3.0)
    assert float(violation_rate(SQUARED, 2.0)) == pytest.approx(0.4)


@pytest.mark.parametrize("tolerance", [0.05, 0.13, 0.5, 0.99])
def test_the_mean_of_the_tail_solves_the_problem_of_rockafellar_and_uryasev(tolerance):
    squared = torch.from_numpy(RNG.chisquare(4, 101))
    excess = squared / 2.5**2 - 1.0
    # the minimum of a convex function with a kink at each value is at one of them
    above = (excess[:, None] - excess).clamp_min(0.0).mean(dim=0)
    expected = float((excess + above / tolerance).min())
    assert float(tail_excess(squared, 2.5, tolerance)) == pytest.approx(expected)
    # what makes it a bound: where it is 0, no more than the tolerance is beyond
    epsilon = float((squared.mean() * 0 + (expected + 1.0)) ** 0.5 * 2.5)
    assert float(tail_excess(squared, epsilon, tolerance)) == pytest.approx(0, abs=1e-9)
    assert float(violation_rate(squared, epsilon)) <= tolerance


@pytest.mark.parametrize(
    "form",
    [
        lambda s: mean_excess(s, 2.0),
        lambda s: hinge_excess(s, 2.0),
        lambda s: tail_excess(s, 2.0, 0.3),
        lambda s: law_distance(s.sqrt(), torch.tensor([0.5, 1.3, 2.2]).double()),
        AugmentedLagrangian(0.5, 2.0).double(),
    ],
    ids=["mean", "hinge", "tail", "law", "psi"],
)
def test_slopes_of_forms(form):
    squared = SQUARED + 0.1  # off the kinks
    at = squared[:1].sum() if isinstance(form, AugmentedLagrangian) else squared
    assert torch.autograd.gradcheck(form, at.detach().clone().requires_grad_())


def test_the_distance_of_laws_is_that_of_scipy_without_its_bias():
    x, y = torch.from_numpy(RNG.standard_normal(9)), torch.from_numpy(RNG.rand(5))
    biased = energy_distance(x, y) ** 2
    pairs = float((x[:, None] - x).abs().sum())
    expected = biased + pairs / 81 - pairs / 72
    assert float(law_distance(x, y)) == pytest.approx(expected)


def test_the_distance_of_laws_is_zero_on_average_for_draws_of_the_law():
    law = torch.from_numpy(RNG.chisquare(5, 200))
    draws = law[torch.from_numpy(RNG.randint(200, size=(400, 10)))]
    found = torch.stack([law_distance(draw, law) for draw in draws])
    assert abs(found.mean()) < 4 * found.std() / 400**0.5


def test_psi_and_the_multiplier_by_hand():
    held = AugmentedLagrangian(multiplier=2.0, penalty=4.0, step=0.5, decay=0.9)
    assert float(held(torch.tensor(0.5))) == pytest.approx((4.0**2 - 4.0) / 8.0)
    assert float(held(torch.tensor(-1.0))) == pytest.approx(-4.0 / 8.0)
    held.update(torch.tensor(-1.1))  # the first decay is 1 / 11
    assert float(held.average) == pytest.approx(-1.0)
    assert float(held.multiplier) == pytest.approx(1.5)
    held.update(torch.tensor(2.0))  # the second 2 / 12
    assert float(held.average) == pytest.approx(-1.0 / 6 + 2.0 * 5 / 6)
    assert float(held.weight()) == pytest.approx(2.25 + 4.0 * 1.5)
    for _ in range(50):
        held.update(torch.tensor(-1.0))
    assert float(held.multiplier) == 0.0
    plain = AugmentedLagrangian(multiplier=3.0, penalty=0.0)
    assert float(plain(torch.tensor(-2.0))) == -6.0


def test_with_a_unit_the_multiplier_falls_as_it_rose_and_has_a_bound():
    held = AugmentedLagrangian(0.9, step=0.1, decay=0.0, unit=0.1)
    held.update(torch.tensor(0.05))  # half of the unit: 0.1 * (0.9 + 0.1) / 2
    assert float(held.multiplier) == pytest.approx(0.95)
    held.update(torch.tensor(-7.0))  # a whole one: 0.1 * (0.95 + 0.1)
    assert float(held.multiplier) == pytest.approx(0.95 - 0.105)
    for _ in range(200):
        held.update(torch.tensor(1.0))
    assert float(held.multiplier) == 100.0
    for _ in range(200):
        held.update(torch.tensor(-1.0))
    assert float(held.multiplier) == 0.0


def test_psi_solves_a_problem_whose_multiplier_is_known():
    # min (x - 2)^2 with x <= 1: x = 1, lambda = 2
    held = AugmentedLagrangian(penalty=1.0, step=0.5, decay=0.0)
    x = torch.tensor(0.0)
    for _ in range(100):
        leaf = x.clone().requires_grad_()
        ((leaf - 2.0).square() + held(leaf - 1.0)).backward()
        x -= 0.1 * leaf.grad
        held.update(x - 1.0)
    assert float(x) == pytest.approx(1.0, abs=1e-4)
    assert float(held.multiplier) == pytest.approx(2.0, abs=1e-3)


def held_at(epsilon=2.0, **options):
    distance = MahalanobisDistance(torch.zeros(1, 2), torch.eye(2))
    return DistanceConstraint(
        nn.Identity(), distance, **{"epsilon": epsilon, "tolerance": 0.1, **options}
    )


@pytest.mark.parametrize("form", ["quantile", "hinge"])
def test_the_share_beyond_settles_at_what_is_tolerated(form):
    # rows want to be twice as far as they may be, their scale is what is learned
    held = held_at(form=form, epsilon=2.0, tolerance=0.2, step=0.03)
    scale, shares = torch.tensor(0.1), []
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        rows = torch.randn(64, 2, generator=generator)
        slope, figures = held.slope(scale * rows)
        scale -= 0.02 * (0.2 * (scale - 4.0) + (slope * rows).sum())
        shares.append(float(figures["violation"]))
    assert np.mean(shares[-150:]) == pytest.approx(0.9 * 0.2, abs=0.03)
    # of a normal law in two dimensions, exp(-epsilon^2 / 2 s^2) is beyond epsilon
    assert np.exp(-2.0 / float(scale) ** 2) == pytest.approx(0.18, abs=0.08)
    assert float(held.multiplier) > 0.05


def test_a_constraint_that_is_kept_anyway_costs_nothing():
    held = held_at(epsilon=100.0)
    rows = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        slope, figures = held.slope(rows)
        assert not slope.any()
    assert float(figures["violation"]) == float(figures["multiplier"]) == 0.0


def test_rows_inside_have_no_slope_and_far_ones_one_that_does_not_grow():
    held = held_at(form="hinge", multiplier=1.0, penalty=0.0, step=0.0, decay=0.0)
    rows = torch.tensor([[1.0, 0.0], [2.5, 0.0], [20.0, 0.0], [200.0, 0.0]])
    slope, _ = held.slope(rows)
    assert slope[0, 0] == 0.0
    assert slope[1, 0] == pytest.approx(2 * 2.5 / 4.0 / 4)
    # 2 + log(D^2 / eps^2 - 1) has the slope 2 D / (D^2 - eps^2)
    assert slope[2, 0] == pytest.approx(40.0 / 396.0 / 4)
    assert slope[3, 0] < slope[2, 0] < slope[1, 0]


def test_the_slope_is_that_of_the_loss():
    rows = torch.randn(16, 2, generator=torch.Generator().manual_seed(1)) * 2
    one, other = held_at(form="quantile"), held_at(form="quantile")
    slope, figures = one.slope(rows)
    leaf = rows.clone().requires_grad_()
    loss, same = other.loss(leaf)
    loss.backward()
    assert torch.equal(slope, leaf.grad)
    assert {k: float(v) for k, v in figures.items()} == {
        k: float(v) for k, v in same.items()
    }


@pytest.mark.parametrize(
    ("form", "tolerance", "reach"),
    [
        ("quantile", 0.25, 4.0),
        ("quantile", 0.24, 8.0),
        ("hinge", 0.5, 2.0),
        ("mean", 0.5, (85 / 4) ** 0.5),
    ],
)
def test_the_reach_is_the_least_epsilon_that_would_be_kept(form, tolerance, reach):
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [8.0, 0.0]])
    found = held_at(form=form, tolerance=tolerance).broken(rows)
    epsilon = held_at().epsilon
    assert float(found["reach"]) == pytest.approx(reach)
    expected = max(0.0, reach / epsilon - 1.0)
    assert float(found["infeasibility"]) == pytest.approx(expected)


def test_the_mean_that_is_held_is_not_the_softened_one():
    # nine of ten rows are near and one far out: 1.09 too much on average
    rows = torch.tensor([0.1**0.5] * 90 + [20.0**0.5] * 10)[:, None].expand(-1, 2)
    rows = rows * torch.tensor([1.0, 0.0])
    held = held_at(epsilon=1.0, form="mean", step=0.1)
    for _ in range(20):
        held.loss(rows)
    assert float(held.multiplier) > 0.5
    found = held.broken(rows)
    assert float(found["constraint"]) == pytest.approx(1.09, abs=1e-3)
    assert float(found["infeasibility"]) == pytest.approx(2.09**0.5 - 1, abs=1e-3)


@pytest.mark.parametrize("multiplier", [3.0, 1000.0])
def test_a_fixed_multiplier_is_a_plain_penalty(multiplier):
    held = held_at(form="mean", fixed=True, multiplier=multiplier)
    rows = torch.ones(4, 2)
    for _ in range(3):
        loss, _ = held.loss(rows)
    assert float(loss) == pytest.approx(multiplier * (2.0 / 4.0 - 1.0))
    assert float(held.multiplier) == multiplier
    assert "infeasibility" not in held.broken(rows)


def test_a_law_pulls_rows_outwards_from_the_mean():
    law = torch.linspace(1.0, 1.9, 50)
    held = held_at(law=law)
    near = 0.1 * torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    slope, _ = held.slope(near)
    outwards = -(slope * near).sum(dim=1)  # downhill
    assert outwards.min() > -1e-6
    assert (outwards > 1e-3).sum() > 60
    alone = held_at()
    assert not alone.slope(near)[0].any()


@pytest.mark.parametrize(("spread", "held_to_it"), [(0.65, True), (0.8, False)])
def test_a_law_is_held_where_distribution_functions_are_a_tenth_apart(
    spread, held_to_it
):
    # of as narrow a law as distances in 32 features have: .105 and .055 apart
    normal = torch.special.ndtri((torch.arange(256) + 0.5) / 256)
    held = held_at(epsilon=2.0, law=2.0 * (0.75 + 0.12 * normal))
    made = 2.0 * (0.75 + 0.12 * spread * normal)
    held.loss(torch.stack([made, torch.zeros(256)], dim=1))
    assert (float(held.multipliers["law"].multiplier) > 0) == held_to_it


def test_what_held_out_rows_show_moves_the_aim():
    held = held_at(tolerance=0.2)
    inside = torch.zeros(10, 2)
    for _ in range(20):
        held.loss(inside)
    assert float(held.multiplier) == 0.0
    outside = torch.tensor([[3.0, 0.0]] * 5 + [[0.0, 0.0]] * 5)
    for _ in range(5):
        held.look_back(held.broken(outside))
        held.loss(inside)
    assert float(held.multiplier) > 0.0


def test_the_state_goes_on_bit_for_bit():
    batches = [
        torch.randn(8, 2, generator=torch.Generator().manual_seed(i)) * 2
        for i in range(10)
    ]
    law = torch.linspace(0.5, 2.0, 20)
    whole, first, second = (held_at(law=law) for _ in range(3))
    for batch in batches:
        whole.slope(batch)
    for batch in batches[:5]:
        first.slope(batch)
    second.multipliers.load_state_dict(copy.deepcopy(first.multipliers.state_dict()))
    for batch in batches[5:]:
        second.slope(batch)
    for mine, other in zip(
        whole.multipliers.state_dict().values(),
        second.multipliers.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(mine, other)
