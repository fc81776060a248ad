"""Losses by hand, by brute force and by resampling."""

import math

import numpy as np
import pytest
import torch

from manifoldgen.nn.losses import (
    RECONSTRUCTION,
    binary_cross_entropy,
    energy_distance,
    mean_squared_error,
    relativistic_loss,
)


def test_mean_squared_error_by_hand():
    output, target = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2, 2)
    assert float(mean_squared_error(output, target)) == pytest.approx(30 / 4)


def test_cross_entropy_of_logits_by_hand():
    logits, target = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[0.25, 1.0]])
    # sigmoid(log 3) = 3/4
    expected = (math.log(2.0) - math.log(0.75)) / 2
    assert float(binary_cross_entropy(logits, target)) == pytest.approx(expected)


def test_names_of_reconstruction_losses():
    assert RECONSTRUCTION == {"mse": mean_squared_error, "bce": binary_cross_entropy}


def test_relativistic_loss_by_hand():
    better, worse = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert float(relativistic_loss(better, worse)) == pytest.approx(expected, rel=1e-6)
    assert float(relativistic_loss(better, better)) == pytest.approx(math.log(2))
    # no overflow where a naive formula has one
    far = relativistic_loss(torch.tensor([-1000.0]), torch.tensor([0.0]))
    assert float(far) == pytest.approx(1000.0)


def brute_force(x, y):
    def mean_distance(a, b, same):
        return np.mean(
            [
                np.linalg.norm(p - q)
                for i, p in enumerate(a)
                for j, q in enumerate(b)
                if not (same and i == j)
            ]
        )

    return (
        2 * mean_distance(x, y, False)
        - mean_distance(x, x, True)
        - mean_distance(y, y, True)
    )


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 3), (30, 41)])
def test_energy_distance_by_brute_force(n, m):
    rng = np.random.RandomState(0)
    x, y = rng.standard_normal((n, 3)), 0.5 + rng.standard_normal((m, 3))
    found, _ = energy_distance(torch.tensor(x), torch.tensor(y))
    assert float(found) == pytest.approx(brute_force(x, y), rel=1e-6, abs=1e-6)


def test_energy_distance_of_three_points():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [3.0]])
    # 2 * mean(3, 3, 1, 1) - 2 - 0
    found, error = energy_distance(x, y)
    assert float(found) == pytest.approx(2.0)
    # mean distances to y: 3, 1; to the other x: 2, 2; so 2 * sd(1, -1) / sqrt(2)
    assert float(error) == pytest.approx(2 / math.sqrt(2))


def test_energy_distance_is_unbiased():
    # of one law it is 0 in the mean, and so below 0 about as often as above
    rng = np.random.RandomState(0)
    draws = np.array(
        [
            float(energy_distance(*torch.tensor(rng.standard_normal((2, 40, 2))))[0])
            for _ in range(400)
        ]
    )
    assert abs(draws.mean()) < 4 * draws.std() / math.sqrt(len(draws))
    assert (draws < 0).any()


def test_the_standard_error_is_that_of_the_bootstrap():
    rng = np.random.RandomState(0)
    x = torch.tensor(rng.standard_normal((200, 2)))
    y = torch.tensor(1.0 + 1.5 * rng.standard_normal((300, 2)))
    _, error = energy_distance(x, y)
    # over new draws of x from the law that it came from, y fixed
    draws = [
        float(energy_distance(torch.tensor(rng.standard_normal((200, 2))), y)[0])
        for _ in range(400)
    ]
    # the spread of 400 draws is known to 1 / sqrt(800) = 3.5 %; 3 sigma and the
    # error's own error
    assert float(error) == pytest.approx(np.std(draws), rel=0.2)


def test_energy_distance_of_single_rows_is_finite():
    found, error = energy_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    assert (float(found), float(error)) == (10.0, 0.0)
