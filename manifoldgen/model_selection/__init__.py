"""Scorers and rules for scikit-learn's searches."""

from ._refit import OneStandardError, one_standard_error
from ._scorers import GenerationScorer, generation_scorer

__all__ = [
    "GenerationScorer",
    "OneStandardError",
    "generation_scorer",
    "one_standard_error",
]
