"""Checks of parameters whose errors say the rule, the value and the fix."""

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import numpy as np


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
