"""The sliced Wasserstein distance against scipy, assignments and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from manifoldgen.metrics import _sliced, sliced_wasserstein


@pytest.mark.parametrize("sizes", [(40, 40), (37, 91), (1, 6)])
def test_on_a_line_it_is_scipys(sizes):
    rng = np.random.RandomState(0)
    x, y = rng.randn(sizes[0]), 0.3 + 2.0 * rng.randn(sizes[1])
    found = sliced_wasserstein(x[:, None], y[:, None], p=1, n_projections=3)
    assert_allclose(found, wasserstein_distance(x, y), rtol=1e-12)


def test_squares_are_those_of_the_best_assignment():
    rng = np.random.RandomState(1)
    x, y = rng.randn(6), rng.randn(4)
    # each row as often as makes both samples of 12
    a, b = np.repeat(x, 2), np.repeat(y, 3)
    costs = np.square(a[:, None] - b)
    expected = costs[linear_sum_assignment(costs)].mean() ** 0.5
    assert_allclose(sliced_wasserstein(x[:, None], y[:, None]), expected, rtol=1e-12)


@pytest.mark.parametrize("p", [1, 2])
def test_directions_are_drawn_and_averaged(p, monkeypatch):
    monkeypatch.setattr(_sliced, "_BLOCK", 200)  # three directions at a time
    rng = np.random.RandomState(2)
    X, Y = rng.randn(30, 5), 1.0 + rng.randn(30, 5)
    directions = np.random.RandomState(9).randn(10, 5)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gaps = [np.abs(np.sort(X @ u) - np.sort(Y @ u)) ** p for u in directions]
    found = sliced_wasserstein(X, Y, p=p, n_projections=10, random_state=9)
    assert_allclose(found, np.mean(gaps) ** (1 / p), rtol=1e-12)


def test_a_shift_has_a_closed_form():
    rng = np.random.RandomState(3)
    X = rng.randn(50, 10)
    shift = np.full(10, 2.0)
    # the mean square of <u, shift> is |shift|**2 / d
    found = sliced_wasserstein(X, X + shift, n_projections=5000)
    assert_allclose(found, 2.0, rtol=0.04)
    assert sliced_wasserstein(X, X[::-1]) < 1e-12


def test_one_seed_gives_one_distance_and_leaves_the_global_one():
    rng = np.random.RandomState(4)
    X, Y = rng.randn(20, 4), rng.randn(25, 4)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = sliced_wasserstein(X, Y, random_state=1)
    assert one == sliced_wasserstein(X, Y, random_state=1)
    assert one != sliced_wasserstein(X, Y, random_state=2)
    sliced_wasserstein(X, Y, random_state=None)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_bad_input_is_refused():
    X = np.random.RandomState(5).randn(20, 3)
    with pytest.raises(ValueError, match="p must be an int between 1 and 2, got 3"):
        sliced_wasserstein(X, X, p=3)
    with pytest.raises(ValueError, match="n_projections must be an int >= 1"):
        sliced_wasserstein(X, X, n_projections=0)
    with pytest.raises(ValueError, match="random_state must be"):
        sliced_wasserstein(X, X, random_state="a")
