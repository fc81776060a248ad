"""The encoder among landmarks, by loops in numpy."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from manifoldgen.nn import MLP, LandmarkEncoder

RNG = np.random.RandomState(0)
LANDMARKS = RNG.standard_normal((7, 2))
LOGITS = 2.0 * RNG.standard_normal((20, 7))
RADIUS = 0.4


def encoder(network=None):
    return LandmarkEncoder(
        network or torch.nn.Identity(), torch.tensor(LANDMARKS), RADIUS
    )


def place_of(logits):
    """Return the place that one row of logits stands for, as the docstring says."""
    p = np.exp(logits) / np.exp(logits).sum()

    def near(j, k):
        squared = ((LANDMARKS[j] - LANDMARKS[k]) ** 2).sum()
        return np.exp(-squared / (2 * (2 * RADIUS) ** 2))

    masses = [sum(p[k] * near(j, k) for k in range(7)) for j in range(7)]
    mode = int(np.argmax(masses))
    weights = np.array([p[k] * near(mode, k) for k in range(7)])
    return (weights[:, np.newaxis] * LANDMARKS).sum(axis=0) / weights.sum()


def test_places_by_a_loop():
    found = encoder().place(torch.tensor(LOGITS)).numpy()
    # the radius is a float32
    assert_allclose(found, [place_of(row) for row in LOGITS], rtol=1e-6, atol=1e-7)


def test_affinities_by_a_loop():
    places = RNG.standard_normal((5, 2))
    found = encoder().affinities(torch.tensor(places)).numpy()
    for z, row in zip(places, found, strict=True):
        squared = ((z - LANDMARKS) ** 2).sum(axis=1)
        weights = np.exp(-squared / (2 * RADIUS**2))
        assert_allclose(row, weights / weights.sum(), rtol=1e-5)
    assert_allclose(found.sum(axis=1), 1.0)


def test_affinities_of_places_that_are_not_known_are_nan():
    places = torch.tensor([[0.0, 0.0], [np.nan, np.nan]])
    found = encoder().affinities(places.double())
    assert not found[0].isnan().any()
    assert found[1].isnan().all()


def test_far_from_every_landmark_affinities_are_finite():
    found = encoder().affinities(torch.full((1, 2), 1e4, dtype=torch.float64))
    assert float(found.sum()) == pytest.approx(1.0)


def test_rows_are_placed_by_the_logits_of_the_network():
    network = MLP((3, 5, 7), generator=torch.Generator().manual_seed(0)).double()
    rows = torch.tensor(RNG.standard_normal((4, 3)))
    whole = encoder(network)
    with torch.no_grad():
        expected = [place_of(row) for row in network(rows).numpy()]
        assert_allclose(whole(rows).numpy(), expected, rtol=1e-6, atol=1e-7)
        assert torch.equal(whole.logits(rows), network(rows))


def test_a_row_between_two_islands_goes_to_one_of_them():
    landmarks = torch.tensor([[-5.0, 0.0], [-5.0, 1.0], [5.0, 0.0]])
    logits = torch.tensor([[0.3, 0.3, 0.4]]).log()
    place = LandmarkEncoder(torch.nn.Identity(), landmarks, 1.0).place(logits)
    beside = np.exp(-1 / 8)  # the weight of the landmark at a distance of 1
    assert_allclose(place.numpy(), [[-5.0, beside / (1 + beside)]], atol=1e-4)


def test_gradients_reach_every_logit_near_the_mode():
    logits = torch.tensor(LOGITS, requires_grad=True)
    encoder().place(logits).square().sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any(dim=1).all()


def test_landmarks_travel_with_the_weights():
    one = encoder(MLP((3, 7)))
    other = LandmarkEncoder(MLP((3, 7)), torch.zeros(7, 2, dtype=torch.float64), 1.0)
    other.load_state_dict(one.state_dict())
    rows = torch.ones(2, 3)
    assert torch.equal(one.double()(rows.double()), other.double()(rows.double()))
