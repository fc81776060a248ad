"""Scorers and rules for scikit-learn's searches, and the choice of features."""

from ._embedding_scorers import EmbeddingScorer, embedding_scorer
from ._features import FeatureSelection, select_features
from ._refit import OneStandardError, one_standard_error
from ._scorers import GenerationScorer, generation_scorer

__all__ = [
    "EmbeddingScorer",
    "FeatureSelection",
    "GenerationScorer",
    "OneStandardError",
    "embedding_scorer",
    "generation_scorer",
    "one_standard_error",
    "select_features",
]
