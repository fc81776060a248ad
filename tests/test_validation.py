"""The small helpers: checks of parameters, random streams, arrays in and out."""

import random
import threading

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from manifoldgen._arrays import (
    column_moments,
    container_of,
    flatten_images,
    standardize,
    to_container,
    unstandardize,
)
from manifoldgen._random import (
    draw_seed,
    isolated_streams,
    random_state_of,
    torch_generator,
)
from manifoldgen._validation import (
    check_bool,
    check_choice,
    check_float32_range,
    check_int,
    check_real,
    check_sizes,
)

# ------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(3)])
def test_ints_that_are_right(value):
    found = check_int("n", value)
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize("value", [True, np.True_, 1.0, np.float64(2), "1", None, [1]])
def test_what_is_no_int(value):
    with pytest.raises(TypeError, match="n must be an int >= 1, got"):
        check_int("n", value)


def test_ints_out_of_range_say_rule_value_and_hint():
    with pytest.raises(ValueError, match=r"^n must be an int >= 1, got 0\.$"):
        check_int("n", 0)
    with pytest.raises(ValueError, match=r"between 2 and 5, got 6\. Use fewer\.$"):
        check_int("n", 6, 2, 5, hint="Use fewer.")
    assert [check_int("n", k, 2, 5) for k in (2, 5)] == [2, 5]


@pytest.mark.parametrize(
    ("closed", "inside"),
    [("both", {0, 1}), ("left", {0}), ("right", {1}), ("neither", set())],
)
def test_ends_of_intervals(closed, inside):
    for end in (0, 1):
        if end in inside:
            assert check_real("x", end, 0.0, 1.0, closed=closed) == end
        else:
            with pytest.raises(ValueError):
                check_real("x", end, 0.0, 1.0, closed=closed)
    assert check_real("x", np.float32(0.5), 0.0, 1.0, closed=closed) == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.1, 1.1])
def test_numbers_out_of_range(value):
    with pytest.raises(ValueError, match=r"x must be a number in \[0, 1\], got"):
        check_real("x", value, 0.0, 1.0)


def test_an_interval_without_an_end_is_open_there():
    with pytest.raises(ValueError, match=r"in \[0, inf\), got inf"):
        check_real("x", np.inf, 0.0)
    assert check_real("x", 1e300, 0.0) == 1e300


@pytest.mark.parametrize("value", [True, "0.5", None, 1j])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="x must be a number"):
        check_real("x", value)


def test_choices():
    assert check_choice("kind", "a", ("a", "b")) == "a"
    for value in ("c", None, 1, ["a"], ("a",)):
        with pytest.raises(ValueError, match=r"kind must be one of 'a', 'b', got"):
            check_choice("kind", value, ("a", "b"))


def test_switches():
    assert check_bool("on", np.True_) is True
    for value in (1, 0, "yes", None):
        with pytest.raises(TypeError, match="on must be True or False, got"):
            check_bool("on", value)


@pytest.mark.parametrize("value", [(), [3], (np.int64(3), 4), np.array([1, 2])])
def test_sizes_that_are_right(value):
    found = check_sizes("sizes", value)
    assert found == tuple(value)
    assert all(type(size) is int for size in found)


@pytest.mark.parametrize("value", [3, "33", b"3", (1.0,), (True,), None, ((1,),)])
def test_what_are_no_sizes(value):
    with pytest.raises(TypeError, match="sizes must be a tuple of ints >= 1, got"):
        check_sizes("sizes", value)


def test_sizes_out_of_range():
    with pytest.raises(ValueError, match=r"got \(3, 0\)"):
        check_sizes("sizes", (3, 0))


def test_the_range_of_float32():
    top = float(np.finfo(np.float32).max)
    check_float32_range("X", np.array([[top, -top]]))
    check_float32_range("X", np.array([[255]], dtype=np.uint8))
    for value in (1.001 * top, -1e300):
        with pytest.raises(
            ValueError, match="X must hold values that float32 can hold"
        ):
            check_float32_range("X", np.array([[0.0, value]]))


# --------------------------------------------------------------------- random streams


def test_seeds_and_streams():
    assert draw_seed(random_state_of(3)) == draw_seed(np.random.RandomState(3))
    rng = np.random.RandomState(0)
    assert random_state_of(rng) is rng
    first, second = draw_seed(rng), draw_seed(rng)
    assert first != second
    assert 0 <= first < 2**31
    assert draw_seed(random_state_of(None)) != draw_seed(random_state_of(None))
    assert draw_seed(random_state_of(np.uint32(7))) == draw_seed(random_state_of(7))


@pytest.mark.parametrize(
    "value", [-1, 2**32, True, 1.5, "0", np.random.default_rng(0), np.random]
)
def test_what_is_no_seed(value):
    with pytest.raises(ValueError, match="random_state must be None, an int between"):
        random_state_of(value)


def test_none_leaves_the_global_generator_of_numpy_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    random_state_of(None).rand()
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_torch_generators_follow_their_seed():
    one, other = (torch.rand(3, generator=torch_generator(5)) for _ in range(2))
    assert torch.equal(one, other)


def draws():
    return random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002


def test_isolated_streams_follow_their_seed_and_leave_no_trace():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    with isolated_streams(7):
        inside = draws()
        with isolated_streams(8):  # one may be inside another
            assert draws() != inside
        after_inner = draws()
    assert draws() == expected
    with isolated_streams(7):
        assert draws() == inside
        assert draws() == after_inner


def test_isolated_streams_are_restored_after_errors():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), isolated_streams(3):
        draws()[0] / 0
    assert torch.equal(torch.get_rng_state(), before)


def test_one_thread_at_a_time_has_the_global_streams():
    found = {}

    def work(seed):
        with isolated_streams(seed):
            found[seed] = [draws() for _ in range(200)]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        with isolated_streams(seed):
            assert [draws() for _ in range(200)] == found[seed]


# ----------------------------------------------------------------------------- arrays


def test_images_become_rows():
    images = np.arange(24.0).reshape(2, 3, 2, 2)
    rows, shape = flatten_images(images)
    assert shape == (3, 2, 2)
    assert_array_equal(rows, images.reshape(2, 12))
    assert flatten_images(torch.zeros(4, 2, 2))[1] == (2, 2)
    assert flatten_images(np.zeros((0, 2, 3)))[0].shape == (0, 6)
    for other in (images.reshape(2, 12), [[1, 2]], np.zeros(3), np.zeros((1,) * 5)):
        assert (
            flatten_images(other) == (other, None) or flatten_images(other)[1] is None
        )


def test_moments_by_hand_in_float64():
    X = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]], dtype=np.float32)
    mean, std = column_moments(X)
    assert mean.dtype == std.dtype == np.float64
    assert_allclose(mean, [3, 2])
    assert_allclose(std, [np.sqrt(8 / 3), 0])


@pytest.mark.parametrize("value", [0.1, 1e8 + 0.1, -3e-5, 1e-300, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_column_has_no_spread_at_all(value, dtype):
    X = np.full((1001, 1), value, dtype=dtype)
    assert column_moments(X)[1][0] == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_moments_of_many_rows_far_from_zero(dtype):
    rng = np.random.RandomState(0)
    X = rng.randint(0, 50, (70_000, 2)) + 200 * (dtype != np.uint8)
    mean, std = column_moments(X.astype(dtype))
    assert_allclose(mean, X.mean(0), rtol=1e-12)
    assert_allclose(std, X.std(0), rtol=1e-12)


def test_units_there_and_back():
    rng = np.random.RandomState(0)
    X = 1e6 + rng.standard_normal((3000, 30))
    mean, scale = column_moments(X)
    scale[3] = 0.0
    Z = standardize(X, mean, scale)
    assert Z.dtype == np.float32
    expected = (X - mean) / np.where(scale == 0, 1, scale)
    assert_allclose(Z, expected, rtol=1e-6, atol=1e-7)
    back = unstandardize(Z, mean, scale)
    assert back.dtype == np.float64
    # of numbers about 1e6 float32 would leave two digits behind the point
    assert_allclose(np.delete(back, 3, 1), np.delete(X, 3, 1), atol=1e-5)
    assert_array_equal(back[:, 3], np.full(3000, mean[3]))


def test_frames_are_told_by_their_library():
    frame = {"a": [1.0], "b": [2.0]}
    assert container_of(pd.DataFrame(frame)) == "pandas"
    assert container_of(pl.DataFrame(frame)) == "polars"
    assert container_of(np.zeros((1, 2))) is None
    assert container_of(type("Other", (), {"columns": ["a"]})()) is None


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_rows_become_frames(library, n):
    rows = np.arange(2.0 * n).reshape(n, 2).astype(np.float32)
    frame = to_container(rows, library, ["a", "b"])
    assert type(frame).__module__.split(".")[0] == library
    assert list(frame.columns) == ["a", "b"]
    assert_array_equal(frame.to_numpy(), rows, strict=True)
    assert to_container(rows, None, None) is rows
