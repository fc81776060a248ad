"""Outlier detectors: distances from the data that they were fitted to, or any score."""

from ._mahalanobis import MahalanobisScorer
from ._manifold import ManifoldScorer
from ._score_detector import ScoreOutlierDetector

__all__ = ["MahalanobisScorer", "ManifoldScorer", "ScoreOutlierDetector"]
