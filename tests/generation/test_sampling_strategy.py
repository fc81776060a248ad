"""What each class gains: as imbalanced-learn says, in all that both take."""

import numpy as np
import pytest
from imblearn.utils import check_sampling_strategy

from manifoldgen.generation._sampling_strategy import rows_to_make

THREE = np.repeat([3, 1, 2], [5, 9, 2])
TIED = np.repeat(["b", "a", "c", "d"], [4, 4, 2, 2])
TWO = np.repeat([True, False], [3, 11])


def doubled(y):
    labels, counts = np.unique(y, return_counts=True)
    return {label: 2 * n for label, n in zip(labels, counts, strict=True)}


@pytest.mark.parametrize("y", [THREE, TIED, TWO], ids=["three", "tied", "two"])
@pytest.mark.parametrize(
    "strategy", ["auto", "not majority", "minority", "not minority", "all", doubled]
)
def test_names_mean_what_they_mean_to_imbalanced_learn(strategy, y):
    expected = check_sampling_strategy(strategy, y, "over-sampling")
    found = rows_to_make(strategy, y)
    assert list(found.items()) == list(expected.items())


@pytest.mark.parametrize("ratio", [0.4, 0.5, 0.77, 1, 1.0])
def test_a_ratio_is_cut_off_alike(ratio):
    expected = check_sampling_strategy(ratio, TWO, "over-sampling")
    assert rows_to_make(ratio, TWO) == dict(expected)


@pytest.mark.parametrize("strategy", [{2: 9}, {3: 5, 2: 4}, {}, {np.int64(1): 9}])
def test_counts_are_of_all_rows_of_a_class(strategy):
    expected = check_sampling_strategy(strategy, THREE, "over-sampling")
    assert rows_to_make(strategy, THREE) == dict(expected)


@pytest.mark.parametrize(
    ("strategy", "y", "match"),
    [
        ("majority", THREE, "largest class cannot grow"),
        ("most", THREE, "must be one of"),
        (0.5, THREE, "no ratio where y holds more than 2 classes"),
        (0.0, TWO, r"in \(0, 1\]"),
        (1.5, TWO, r"in \(0, 1\]"),
        (0.3, TWO, "asks for 3.3 rows of class True, which has 3 already"),
        ({4: 9}, THREE, r"must name classes of y, \[1, 2, 3\], got \[4\]"),
        ({3: 4}, THREE, "int >= 5 rows of class 3, which y holds already, got 4"),
        (lambda y: {2: -1}, THREE, "int >= 2 rows of class 2"),
        ("auto", THREE[:5], r"2 classes at least, got one class, \[3\]"),
    ],
)
def test_what_neither_takes(strategy, y, match):
    with pytest.raises(ValueError, match=match):
        rows_to_make(strategy, y)
    with pytest.raises(ValueError):
        check_sampling_strategy(strategy, y, "over-sampling")


@pytest.mark.parametrize("strategy", [None, True, [1, 2], {2: 9.5}, lambda y: 3])
def test_what_is_of_no_kind_that_is_known(strategy):
    with pytest.raises(TypeError, match="sampling_strategy must"):
        rows_to_make(strategy, THREE)
