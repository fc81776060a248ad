"""How many rows each class is to gain, in the words of imbalanced-learn."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRATEGIES = ("auto", "not majority", "minority", "not minority", "all")


def rows_to_make(strategy: Any, y: NDArray[Any]) -> dict[Any, int]:
    """Return how many rows each class that `strategy` names is to gain.

    Parameters
    ----------
    strategy : str, float, dict or callable
        As `sampling_strategy` of `GenerativeAugmenter`.
    y : ndarray of shape (n_samples,)
        Labels of the rows that are there.

    Returns
    -------
    n_new : dict
        Rows to make by label, in the order of the labels. Classes that the strategy
        leaves out are missing; those that it names and that are full have 0.

    Raises
    ------
    TypeError
        If `strategy`, or a count in it, is of no kind that is known.
    ValueError
        If `y` holds one class, or the strategy a label that `y` does not hold, a count
        below the present one, or a ratio that takes rows away.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array(["a", "a", "a", "a", "b", "c", "c"])
    >>> rows_to_make("auto", y)
    {'b': 3, 'c': 2}
    >>> rows_to_make({"b": 3}, y)
    {'b': 2}
    """
    labels, counts = np.unique(y, return_counts=True)
    present = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    if len(present) < 2:
        raise ValueError(
            f"y must hold 2 classes at least, got one class, {labels.tolist()}. Rows "
            "of one class are drawn by a generator alone."
        )
    if isinstance(strategy, str):
        return _by_name(strategy, present)
    if isinstance(strategy, Mapping):
        return _by_counts(strategy, present)
    if isinstance(strategy, Real) and not isinstance(strategy, (bool, np.bool_)):
        return _by_ratio(float(strategy), present)
    if callable(strategy):
        wanted = strategy(y)
        if not isinstance(wanted, Mapping):
            raise TypeError(
                "sampling_strategy must return a dict of counts by label where it is "
                f"callable, got {wanted!r}."
            )
        return _by_counts(wanted, present)
    raise TypeError(
        f"sampling_strategy must be one of {STRATEGIES}, a ratio, a dict of counts by "
        f"label or a callable, got {strategy!r}."
    )


def _by_name(name: str, present: dict[Any, int]) -> dict[Any, int]:
    if name not in STRATEGIES:
        hint = ""
        if name == "majority":
            hint = " The largest class cannot grow to its own size."
        raise ValueError(
            f"sampling_strategy must be one of {STRATEGIES}, got {name!r}.{hint}"
        )
    # of classes of one size, the first label counts
    largest = max(present, key=present.__getitem__)
    smallest = min(present, key=present.__getitem__)
    most = present[largest]
    missing = {label: most - count for label, count in present.items()}
    if name in ("auto", "not majority"):
        del missing[largest]
    elif name == "not minority":
        del missing[smallest]
    elif name == "minority":
        return {smallest: missing[smallest]}
    return missing


def _by_counts(wanted: Mapping[Any, Any], present: dict[Any, int]) -> dict[Any, int]:
    unknown = [label for label in wanted if label not in present]
    if unknown:
        raise ValueError(
            f"sampling_strategy must name classes of y, {list(present)}, got {unknown}."
        )
    for label, count in wanted.items():
        message = (
            f"sampling_strategy must ask for an int >= {present[label]} rows of class "
            f"{label!r}, which y holds already, got {count!r}."
        )
        if isinstance(count, (bool, np.bool_)) or not isinstance(count, Integral):
            raise TypeError(message)
        if count < present[label]:
            raise ValueError(message + " It takes no rows away.")
    return {
        label: int(wanted[label]) - count
        for label, count in present.items()
        if label in wanted
    }


def _by_ratio(ratio: float, present: dict[Any, int]) -> dict[Any, int]:
    if not 0.0 < ratio <= 1.0:
        raise ValueError(
            f"sampling_strategy must be in (0, 1] where it is a ratio, got {ratio!r}."
        )
    if len(present) != 2:
        raise ValueError(
            "sampling_strategy must be no ratio where y holds more than 2 classes, got "
            f"{ratio!r} for {list(present)}. Give a dict of counts by label."
        )
    largest = max(present, key=present.__getitem__)
    (smaller,) = present.keys() - {largest}
    # cut off as imbalanced-learn cuts it off, to ask for the same rows
    n_new = int(present[largest] * ratio - present[smaller])
    if n_new <= 0:
        raise ValueError(
            f"sampling_strategy={ratio!r} asks for {present[largest] * ratio:g} rows "
            f"of class {smaller!r}, which has {present[smaller]} already. Raise the "
            "ratio."
        )
    return {smaller: n_new}
