"""Displays: pictures of arrays and of fitted estimators."""

from ._curves import SearchCurveDisplay, TrainingHistoryDisplay
from ._embedding import EmbeddingDisplay
from ._images import ReconstructionDisplay, SampleGridDisplay

__all__ = [
    "EmbeddingDisplay",
    "ReconstructionDisplay",
    "SampleGridDisplay",
    "SearchCurveDisplay",
    "TrainingHistoryDisplay",
]
