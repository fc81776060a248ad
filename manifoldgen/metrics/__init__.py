"""Measures of embeddings and of generated data: functions of arrays, no estimator."""

from ._embedding import ShepardPairs, shepard_pairs
from ._generation import (
    PRDC,
    energy_distance,
    near_copy_share,
    precision_recall_density_coverage,
)

__all__ = [
    "PRDC",
    "ShepardPairs",
    "energy_distance",
    "near_copy_share",
    "precision_recall_density_coverage",
    "shepard_pairs",
]
