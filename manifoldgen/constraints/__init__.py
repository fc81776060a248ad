"""Hold what an estimator makes to a Mahalanobis distance from its training rows."""

from ._features import feature_module
from ._held import ConstrainedMixin, check_constraint, fit_constraint
from ._mahalanobis import MahalanobisConstraint

__all__ = [
    "ConstrainedMixin",
    "MahalanobisConstraint",
    "check_constraint",
    "feature_module",
    "fit_constraint",
]
