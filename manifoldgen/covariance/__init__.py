"""Streaming moments, shrinkage, factored covariances and Mahalanobis distances."""

from ._classes import ClassMoments, class_moments
from ._factors import factor, factor_rows
from ._full_factor import Factor, FullFactor
from ._low_rank import LowRankFactor
from ._moments import Moments, moments
from ._robust import robust_factor
from ._shrinkage import ledoit_wolf_shrinkage, oas_shrinkage, shrink
from ._whitening import (
    Kernel,
    leave_one_out,
    map_blocks,
    padded,
    ridge_variances,
    squared_distances,
    whiten,
    whitening_matrix,
)

__all__ = [
    "ClassMoments",
    "Factor",
    "FullFactor",
    "Kernel",
    "LowRankFactor",
    "Moments",
    "class_moments",
    "factor",
    "factor_rows",
    "leave_one_out",
    "ledoit_wolf_shrinkage",
    "map_blocks",
    "moments",
    "oas_shrinkage",
    "padded",
    "ridge_variances",
    "robust_factor",
    "shrink",
    "squared_distances",
    "whiten",
    "whitening_matrix",
]
