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
    precision_recall_density_coverage,
)
from ._intrinsic_dimension import intrinsic_dimension
from ._memorization import membership_auc, near_copy_share
from ._ranks import (
    CorankingCurve,
    continuity,
    coranking_curve,
    neighbor_recall,
    trustworthiness,
)

__all__ = [
    "PRDC",
    "CorankingCurve",
    "ShepardPairs",
    "continuity",
    "coranking_curve",
    "energy_distance",
    "intrinsic_dimension",
    "membership_auc",
    "near_copy_share",
    "neighbor_label_accuracy",
    "neighbor_recall",
    "precision_recall_density_coverage",
    "round_trip_error",
    "shepard_correlation",
    "shepard_pairs",
    "triplet_accuracy",
    "trustworthiness",
]
