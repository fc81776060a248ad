"""Streaming moments, shrinkage, whitening and squared Mahalanobis distances."""

from ._classes import ClassMoments, class_moments
from ._factors import Factor, factor
from ._moments import Moments, moments
from ._shrinkage import ledoit_wolf_shrinkage, oas_shrinkage, shrink
from ._whitening import (
    leave_one_out,
    ridge_variances,
    squared_distances,
    whiten,
    whitening_matrix,
)

__all__ = [
    "ClassMoments",
    "Factor",
    "Moments",
    "class_moments",
    "factor",
    "leave_one_out",
    "ledoit_wolf_shrinkage",
    "moments",
    "oas_shrinkage",
    "ridge_variances",
    "shrink",
    "squared_distances",
    "whiten",
    "whitening_matrix",
]
