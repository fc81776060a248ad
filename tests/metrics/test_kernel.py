"""The kernel distance against all pairs, moments and torchmetrics."""

import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics.pairwise import polynomial_kernel

from manifoldgen.metrics import _kernel, kernel_distance


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of a few pairs, so that small samples take several."""
    monkeypatch.setattr(_kernel, "_ROWS", 7)
    monkeypatch.setattr(_kernel, "_COLUMNS", 11)


def brute(X, Y, **kernel):
    def among(A):
        K = polynomial_kernel(A, **kernel)
        return (K.sum() - K.trace()) / (len(A) * (len(A) - 1))

    return among(X) + among(Y) - 2 * polynomial_kernel(X, Y, **kernel).mean()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize("gamma", [None, 0.7])
def test_it_is_the_mean_of_all_pairs(degree, gamma):
    rng = np.random.RandomState(degree)
    X, Y = rng.randn(50, 4), 0.5 + rng.randn(33, 4)
    kernel = {"degree": degree, "gamma": gamma, "coef0": 0.3}
    assert_allclose(kernel_distance(X, Y, **kernel), brute(X, Y, **kernel), rtol=1e-10)


def test_torchmetrics_finds_the_same_in_one_subset_of_all_rows():
    from torchmetrics.image.kid import KernelInceptionDistance

    class Rows(torch.nn.Module):
        num_features = 6

        def forward(self, rows):
            return rows

    rng = np.random.RandomState(0)
    X, Y = rng.randn(80, 6), 0.4 + rng.randn(80, 6)
    with pytest.warns(UserWarning, match="large memory footprint"):
        peer = KernelInceptionDistance(feature=Rows(), subsets=1, subset_size=80)
    peer.update(torch.from_numpy(X), real=True)
    peer.update(torch.from_numpy(Y), real=False)
    assert_allclose(kernel_distance(X, Y), float(peer.compute()[0]), rtol=1e-10)


def test_degree_one_compares_means():
    rng = np.random.RandomState(1)
    X, Y = rng.randn(40, 3), 2.0 + rng.randn(60, 3)
    gap = X.mean(axis=0) - Y.mean(axis=0)
    bias = X.var(axis=0, ddof=1).sum() / 40 + Y.var(axis=0, ddof=1).sum() / 60
    expected = (gap @ gap - bias) / 3
    assert_allclose(kernel_distance(X, Y, degree=1), expected, rtol=1e-10)


def test_it_is_zero_on_average_and_sees_third_moments():
    rng = np.random.RandomState(2)
    same = [kernel_distance(rng.randn(20, 2), rng.randn(30, 2)) for _ in range(300)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(len(same))
    assert np.mean(np.array(same) < 0) > 0.25
    X, skew = rng.randn(4000, 2), rng.standard_gamma(1.0, (4000, 2)) - 1.0
    # third moments of 2 in each of two columns: gamma**3 times 2**2 twice
    assert kernel_distance(X, skew) == pytest.approx(2 * 4 / 8, rel=0.4)
    assert abs(kernel_distance(X, skew, degree=2)) < 0.05


def test_memory_is_a_few_tiles():
    rng = np.random.RandomState(3)
    X, Y = rng.randn(2, 4000, 3)
    tracemalloc.start()
    kernel_distance(X, Y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # the whole matrix takes 128 MB


def test_bad_input_is_refused():
    X = np.random.RandomState(4).randn(20, 3)
    for name, value in (("degree", 0), ("gamma", 0.0), ("coef0", -1.0)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            kernel_distance(X, X, **{name: value})
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        kernel_distance(X[:1], X)
    with pytest.raises(ValueError, match="whose kernel float64 can hold"):
        kernel_distance(1e80 * X, X)
