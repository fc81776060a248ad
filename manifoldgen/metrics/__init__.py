"""Measures of embeddings and of generated data: functions of arrays, no estimator."""

from ._embedding import (
    ShepardPairs,
    neighbor_label_accuracy,
    round_trip_error,
    shepard_correlation,
    shepard_pairs,
    triplet_accuracy,
)
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
    "neighbor_label_accuracy",
    "precision_recall_density_coverage",
    "round_trip_error",
    "shepard_correlation",
    "shepard_pairs",
    "triplet_accuracy",
]
