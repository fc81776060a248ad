"""Displays: pictures of arrays and of fitted estimators."""

from ._embedding import EmbeddingDisplay
from ._history import TrainingHistoryDisplay
from ._images import ReconstructionDisplay, SampleGridDisplay
from ._search import SearchCurveDisplay

__all__ = [
    "EmbeddingDisplay",
    "ReconstructionDisplay",
    "SampleGridDisplay",
    "SearchCurveDisplay",
    "TrainingHistoryDisplay",
]
