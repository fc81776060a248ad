"""Streaming moments, shrinkage, whitening and squared Mahalanobis distances."""

from ._moments import Moments, moments
from ._shrinkage import oas_shrinkage, shrink
from ._whitening import (
    leave_one_out,
    ridge_variances,
    squared_distances,
    whitening_matrix,
)

__all__ = [
    "Moments",
    "leave_one_out",
    "moments",
    "oas_shrinkage",
    "ridge_variances",
    "shrink",
    "squared_distances",
    "whitening_matrix",
]
