"""Energy distance and precision to coverage against brute force and prdc."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from prdc import compute_prdc
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance as scipy_energy_distance

from manifoldgen.metrics import (
    _balls,
    energy_distance,
    near_copy_share,
    precision_recall_density_coverage,
)
from manifoldgen.neighbors import _distances, _index


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, so that small samples take several."""
    monkeypatch.setattr(_distances, "_BLOCK", 200)
    monkeypatch.setattr(_balls, "_ROWS", 17)
    monkeypatch.setattr(_balls, "_COLUMNS", 13)


def brute_energy(X, Y):
    return 2 * cdist(X, Y).mean() - cdist(X, X).mean() - cdist(Y, Y).mean()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_energy_distance_is_the_mean_of_all_pairs(dtype):
    rng = np.random.RandomState(0)
    X = (40 * rng.rand(50, 7)).astype(dtype)
    Y = (20 + 40 * rng.rand(31, 7)).astype(dtype)
    expected = brute_energy(X.astype(np.float64), Y.astype(np.float64))
    assert_allclose(energy_distance(X, Y), expected, rtol=1e-12)
    assert energy_distance(X, Y) == pytest.approx(energy_distance(Y, X), rel=1e-12)


def test_energy_distance_of_one_column_is_scipys_squared():
    rng = np.random.RandomState(1)
    x, y = rng.randn(80), 0.5 + rng.randn(60)
    expected = scipy_energy_distance(x, y) ** 2
    assert_allclose(energy_distance(x[:, None], y[:, None]), expected, rtol=1e-12)


def test_unbiased_energy_distance_leaves_out_a_row_with_itself():
    X, Y = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])
    # 2 * (1 + 5 + 1 + 3) / 4 - 2 - 4, and with the zeros of the diagonal -1 - 2.
    assert energy_distance(X, Y, unbiased=True) == pytest.approx(-1.0)
    assert energy_distance(X, Y) == pytest.approx(2.0)


def test_unbiased_energy_distance_is_zero_on_average():
    rng = np.random.RandomState(2)
    draws = np.array(
        [
            energy_distance(rng.randn(10, 3), rng.randn(10, 3), unbiased=True)
            for _ in range(400)
        ]
    )
    assert abs(draws.mean()) < 4 * draws.std() / np.sqrt(len(draws))
    assert (draws < 0).mean() > 0.25


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_energy_distance_keeps_its_digits_between_near_ties(offset):
    # All distances are below the rounding error of |x|^2 + |y|^2 - 2 x.y.
    rng = np.random.RandomState(3)
    clusters = offset + 100.0 * rng.randint(-3, 4, size=(40, 5))
    X = clusters + 2.0**-28 * rng.randint(0, 8, size=(40, 5))
    Y = clusters + 2.0**-28 * rng.randint(0, 8, size=(40, 5))
    assert_allclose(energy_distance(X, Y), brute_energy(X, Y), rtol=0, atol=1e-12 * 500)
    near = energy_distance(X[:1], Y[:1])
    assert_allclose(near, 2 * np.linalg.norm(X[0] - Y[0]), rtol=1e-14)


def test_energy_distance_of_a_sample_to_itself_is_zero():
    X = np.random.RandomState(4).randn(300, 20)
    assert energy_distance(X, X) == 0.0
    assert 0.0 <= energy_distance(X, X[::-1]) < 1e-12


def test_images_and_frames_are_rows():
    rng = np.random.RandomState(5)
    images, others = rng.rand(20, 2, 3, 3), rng.rand(25, 2, 3, 3)
    rows, other_rows = images.reshape(20, -1), others.reshape(25, -1)
    frame = pd.DataFrame(other_rows)
    assert energy_distance(images, frame) == energy_distance(rows, other_rows)
    assert precision_recall_density_coverage(
        images, others
    ) == precision_recall_density_coverage(rows, other_rows)
    assert near_copy_share(images, others) == near_copy_share(rows, other_rows)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("n_neighbors", [1, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_precision_to_coverage_equal_the_prdc_package(n_neighbors, seed):
    rng = np.random.RandomState(seed)
    real, generated = rng.randn(60, 8), 0.7 * rng.randn(45, 8) + 0.3
    ours = precision_recall_density_coverage(real, generated, n_neighbors=n_neighbors)
    expected = compute_prdc(real, generated, n_neighbors)
    assert ours._asdict() == pytest.approx(expected, rel=1e-14)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(3))
def test_precision_to_coverage_decide_ties_as_the_prdc_package(seed):
    # On a grid of integers every distance is exact and most are tied.
    rng = np.random.RandomState(seed)
    real = rng.permutation(np.stack(np.mgrid[:8, :8], axis=-1).reshape(-1, 2))[:50]
    generated = rng.randint(0, 8, size=(40, 2))
    ours = precision_recall_density_coverage(real, generated, n_neighbors=3)
    expected = compute_prdc(real.astype(float), generated, 3)
    assert ours._asdict() == pytest.approx(expected, rel=1e-14)


def brute_prdc(real, generated, k):
    real_radii = np.sort(cdist(real, real), axis=1)[:, k]
    generated_radii = np.sort(cdist(generated, generated), axis=1)[:, k]
    across = cdist(real, generated)
    inside = across < real_radii[:, np.newaxis]
    recall = np.mean((across < generated_radii).any(axis=1))
    return (
        inside.any(axis=0).mean(),
        recall,
        inside.mean(axis=1).sum() / k,
        inside.any(axis=1).mean(),
    )


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("many", [1, 16, 10**9])
@pytest.mark.parametrize(
    "case", ["far real", "far generated", "collapsed", "farther than squares", "offset"]
)
def test_rows_that_float32_cannot_tell_apart_are_told_apart(case, many, monkeypatch):
    monkeypatch.setattr(_balls, "_MANY", many)
    rng = np.random.RandomState(20)
    real, generated = rng.randn(60, 4), rng.randn(50, 4)
    if case == "far real":
        real[[3, 40]] *= 1e9
    elif case == "far generated":
        generated[7] *= 1e7  # beside it the others are one point in float32
    elif case == "collapsed":
        generated = 1e-12 * generated
    elif case == "farther than squares":
        real[5], generated = 1e140 * real[5], 1e-30 * generated
    else:
        real, generated = 1e7 + real, 1e7 + generated
    found = precision_recall_density_coverage(real, generated, n_neighbors=3)
    assert found == pytest.approx(brute_prdc(real, generated, 3), rel=1e-12)


def test_a_tie_is_outside_wherever_the_data_lie():
    # A copy of a neighbour is at exactly the radius of the ball, so not inside it.
    rng = np.random.RandomState(6)
    for offset in (0.0, 1e3, 1e7):
        real = offset + rng.randn(30, 5)
        nearest = np.argsort(cdist(real, real)[0])[1]
        copies = np.repeat(real[[nearest]], 3, axis=0)
        balls = cdist(real, real)
        radii = np.sort(balls, axis=1)[:, 1]
        inside = (balls[:, nearest] < radii).mean()
        result = precision_recall_density_coverage(real, copies, n_neighbors=1)
        assert result.coverage == inside
        assert result.density == pytest.approx(inside * len(real))


def test_a_collapsed_generator_has_no_recall():
    rng = np.random.RandomState(7)
    real = rng.randn(100, 2)
    result = precision_recall_density_coverage(real, np.zeros((100, 2)))
    assert result.precision == 1.0
    assert result.recall == 0.0
    assert result.coverage < 0.5


def test_equal_distributions_reach_the_expected_coverage():
    rng = np.random.RandomState(8)
    result = precision_recall_density_coverage(rng.randn(3000, 3), rng.randn(3000, 3))
    assert result.coverage == pytest.approx(1 - 2**-5, abs=0.015)
    assert result.density == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("function", "fill"),
    [
        (energy_distance, "X"),
        (precision_recall_density_coverage, "X_real"),
        (near_copy_share, "X_train"),
    ],
)
def test_bad_samples_are_refused(function, fill):
    good = np.random.RandomState(10).randn(20, 3)
    with pytest.raises(ValueError, match=r"as many columns.* 3 and 2"):
        function(good, good[:, :2])
    bad = good.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match=f"Input {fill} contains NaN"):
        function(bad, good)
    with pytest.raises(ValueError, match="contains infinity"):
        function(good, np.where(np.isnan(bad), np.inf, bad))


def test_bounds_and_duplicates_are_explained():
    rng = np.random.RandomState(11)
    X = rng.randn(20, 3)
    with pytest.raises(ValueError, match="n_neighbors must be an int between 1 and 9"):
        precision_recall_density_coverage(X, X[:10], n_neighbors=10)
    with pytest.raises(TypeError, match="n_neighbors must be an int"):
        precision_recall_density_coverage(X, X, n_neighbors=2.0)
    twins = np.vstack([X, X[:1], X[:1]])
    with pytest.raises(ValueError, match=r"n_neighbors=2 or more copies, but 3 rows"):
        precision_recall_density_coverage(twins, X, n_neighbors=2)
    precision_recall_density_coverage(twins, X, n_neighbors=3)
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        energy_distance(X[:1], X, unbiased=True)


@pytest.mark.parametrize(
    "function", [energy_distance, precision_recall_density_coverage, near_copy_share]
)
def test_memory_is_a_few_blocks(function, monkeypatch):
    monkeypatch.setattr(_distances, "_BLOCK", 2**16)
    monkeypatch.setattr(_index, "_ROWS", 512)
    rng = np.random.RandomState(12)
    X, Y = rng.randn(2, 3000, 4)
    tracemalloc.start()
    function(X, Y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 8 * 2**16  # a whole matrix of distances takes 72 MB
