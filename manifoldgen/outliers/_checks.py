"""What a scorer cannot learn from, and laws that its parameters rule out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..covariance import ClassMoments
from ._law import Total

_GAUSSIAN = {
    "covariance": "empirical",
    "class_conditional": False,
    "normalize": None,
    "groups": None,
}


def check_gaussian(method: str, parameters: Mapping[str, Any]) -> None:
    """Raise where parameters alone rule a law for Gaussian rows out."""
    for name, wanted in _GAUSSIAN.items():
        given = parameters[name]
        if given is not wanted and given != wanted:
            raise ValueError(
                f"pvalue_method={method!r} holds for {name}={wanted!r}, got {name}="
                f"{given!r}. Use pvalue_method='conformal' with it."
            )


def check_classes(total: ClassMoments, *, tied: bool) -> None:
    """Raise where there are too few rows of a class for its covariance."""
    counts = np.array([part.n_samples for part in total.parts])
    if not tied and counts.min() < 2:
        rare = total.classes.tolist()[counts.argmin()]
        raise ValueError(
            "class_covariance='full' needs 2 rows of each class at least, got one "
            f"of y={rare!r}. Drop the class, add rows of it, or set "
            "class_covariance='tied'."
        )
    if total.n_samples <= len(counts):
        raise ValueError(
            "class_conditional=True needs more rows than classes, got one row of "
            f"each of {len(counts)} classes, which leaves nothing that varies "
            "within a class. Add rows, or set class_conditional=False."
        )


def check_continues(seen: Total, new: Total) -> None:
    """Raise where new rows are not of the kind that the first fit saw."""
    if not isinstance(new, type(seen)):
        given = isinstance(new, ClassMoments)
        raise ValueError(
            "class_conditional must stay what it was in the first fit, got "
            f"{given!r}. Call fit to begin anew."
        )
    if isinstance(new, ClassMoments) and isinstance(seen, ClassMoments):
        kinds = {it.classes.dtype.kind for it in (new, seen)}
        if len(kinds) > 1 and not kinds <= set("biuf"):
            raise ValueError(
                "y must hold labels of one kind in every batch, got "
                f"{new.classes.tolist()[:3]} after {seen.classes.tolist()[:3]}."
            )
