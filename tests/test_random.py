"""Random streams of rows, and seeds of estimators."""

import numpy as np
from numpy.testing import assert_array_equal
from scipy.stats import kstest
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from manifoldgen._random import draw_seed, row_streams
from manifoldgen.base import seeded_clone

ROWS = np.random.RandomState(0).standard_normal((400, 3))


def draws(rows, seed, n=4):
    return np.array([stream.standard_normal(n) for stream in row_streams(rows, seed)])


def test_a_row_draws_alike_in_any_company_and_dtype():
    found = draws(ROWS, 5)
    assert_array_equal(draws(ROWS[::-1], 5)[::-1], found)
    assert_array_equal(draws(ROWS[7:8], 5), found[7:8])
    rounded = ROWS.astype(np.float32)
    assert_array_equal(draws(rounded, 5), draws(rounded.astype(np.float64), 5))
    bits = np.array([[0, 1, 255]], dtype=np.uint8)
    assert_array_equal(draws(bits, 5), draws(bits.astype(np.float64), 5))
    assert_array_equal(draws(np.zeros((1, 2)), 5), draws(-np.zeros((1, 2)), 5))


def test_rows_and_seeds_draw_apart():
    found = draws(ROWS, 5)
    assert len(np.unique(found)) == found.size
    assert not np.isin(draws(ROWS, 6), found).any()
    apart = np.add(ROWS[:1], [[0.0, 0.0, 1e-5]])
    assert not np.isin(draws(apart, 5), found).any()


def test_the_draws_of_many_rows_are_normal():
    found = draws(ROWS, 5)
    assert kstest(found.ravel(), "norm").pvalue > 1e-3
    across = np.corrcoef(found.T) - np.eye(4)
    assert np.abs(across).max() < 4 / np.sqrt(len(ROWS))


def test_a_clone_is_seeded_where_its_seeds_were_left_open():
    open_one = make_pipeline(PCA(random_state=7), GaussianMixture(), PCA())
    part = seeded_clone(open_one, np.random.RandomState(0))
    rng = np.random.RandomState(0)
    seeds = [step.random_state for _, step in part.steps]
    assert seeds == [7, draw_seed(rng), draw_seed(rng)]  # by name, not by position
    assert open_one[1].random_state is None
