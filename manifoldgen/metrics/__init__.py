"""Measures of generated data: functions of arrays, no estimator."""

from ._generation import (
    PRDC,
    energy_distance,
    near_copy_share,
    precision_recall_density_coverage,
)

__all__ = [
    "PRDC",
    "energy_distance",
    "near_copy_share",
    "precision_recall_density_coverage",
]
