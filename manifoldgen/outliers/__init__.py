"""Outlier detectors that measure a row's distance from the data they were fitted to."""

from ._mahalanobis import MahalanobisScorer
from ._manifold import ManifoldScorer

__all__ = ["MahalanobisScorer", "ManifoldScorer"]
