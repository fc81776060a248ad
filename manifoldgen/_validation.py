"""Checks of parameters whose errors say the rule, the value and the fix."""

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_int(
    name: str, value: Any, low: int = 1, high: int | None = None, hint: str = ""
) -> int:
    """Return `value` as an int where ``low <= value <= high``, else raise."""
    rule = f">= {low}" if high is None else f"between {low} and {high}"
    message = f"{name} must be an int {rule}, got {value!r}."
    if hint:
        message += f" {hint}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(message)
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(message)
    return number


def check_real(
    name: str,
    value: Any,
    low: float = -np.inf,
    high: float = np.inf,
    closed: str = "both",
    hint: str = "",
) -> float:
    """Return `value` as a float inside an interval, else raise.

    `closed` says which ends belong to the interval: "both", "left", "right" or
    "neither".
    """
    left = "[" if closed in ("both", "left") and np.isfinite(low) else "("
    right = "]" if closed in ("both", "right") and np.isfinite(high) else ")"
    message = f"{name} must be a number in {left}{low:g}, {high:g}{right}"
    message += f", got {value!r}."
    if hint:
        message += f" {hint}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(message)
    number = float(value)
    above = number >= low if left == "[" else number > low
    below = number <= high if right == "]" else number < high
    if not (above and below and np.isfinite(number)):
        raise ValueError(message)
    return number


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return `value` where it is one of the strings in `choices`, else raise."""
    if not isinstance(value, str) or value not in choices:
        options = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {options}, got {value!r}.")
    return value


def check_float32_range(name: str, rows: NDArray[Any]) -> None:
    """Raise where float32, which results come in, cannot hold a value of `rows`."""
    if rows.dtype.itemsize <= 4 or rows.dtype.kind != "f":
        return
    high = max(float(rows.max()), -float(rows.min()))
    if high > float(np.finfo(np.float32).max):
        raise ValueError(
            f"{name} must hold values that float32 can hold, up to 3.4e38, got one of "
            f"size {high:.3g}. Divide {name} by a constant first."
        )


def check_bool(name: str, value: Any) -> bool:
    """Return `value` as a bool where it is one, else raise."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def check_sizes(name: str, value: Any) -> tuple[int, ...]:
    """Return `value` as a tuple of ints >= 1 (it may be empty), else raise."""
    message = f"{name} must be a tuple of ints >= 1, got {value!r}."
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise TypeError(message)
    for size in value:
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise TypeError(message)
        if size < 1:
            raise ValueError(message)
    return tuple(int(size) for size in value)
