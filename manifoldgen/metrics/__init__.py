"""Measures of embeddings and of generated data: functions of arrays, no estimator."""

from ._classifier import (
    ModeCoverage,
    SyntheticTraining,
    TwoSampleTest,
    classifier_two_sample_test,
    mode_coverage,
    train_on_synthetic,
)
from ._embedding import (
    ShepardPairs,
    neighbor_label_accuracy,
    round_trip_error,
    shepard_correlation,
    shepard_pairs,
    triplet_accuracy,
)
from ._frechet import frechet_distance, frechet_distance_limit
from ._generation import (
    PRDC,
    energy_distance,
    precision_recall_density_coverage,
)
from ._intrinsic_dimension import intrinsic_dimension
from ._kernel import kernel_distance
from ._memorization import membership_auc, near_copy_share
from ._ranks import (
    CorankingCurve,
    continuity,
    coranking_curve,
    neighbor_recall,
    trustworthiness,
)
from ._sliced import sliced_wasserstein

__all__ = [
    "PRDC",
    "CorankingCurve",
    "ModeCoverage",
    "ShepardPairs",
    "SyntheticTraining",
    "TwoSampleTest",
    "classifier_two_sample_test",
    "continuity",
    "coranking_curve",
    "energy_distance",
    "frechet_distance",
    "frechet_distance_limit",
    "intrinsic_dimension",
    "kernel_distance",
    "membership_auc",
    "mode_coverage",
    "near_copy_share",
    "neighbor_label_accuracy",
    "neighbor_recall",
    "precision_recall_density_coverage",
    "round_trip_error",
    "shepard_correlation",
    "shepard_pairs",
    "sliced_wasserstein",
    "train_on_synthetic",
    "triplet_accuracy",
    "trustworthiness",
]
