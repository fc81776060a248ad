"""Displays: pictures of arrays and of fitted estimators."""

from ._arithmetic import LatentArithmeticDisplay
from ._attribute import AttributeDirectionDisplay
from ._constraint_history import ConstraintHistoryDisplay
from ._contribution import ContributionDisplay
from ._distance_contour import DistanceContourDisplay
from ._embedding import EmbeddingDisplay
from ._generation_report import GenerationReportDisplay
from ._history import TrainingHistoryDisplay
from ._images import ReconstructionDisplay, SampleGridDisplay
from ._latent_grid import LatentGridDisplay
from ._memorisation_report import MemorisationReportDisplay
from ._nearest_real import NearestRealDisplay
from ._reference_law import ReferenceLawDisplay
from ._score_distribution import ScoreDistributionDisplay
from ._search import SearchCurveDisplay
from ._shepard import ShepardDisplay
from ._traversal import TraversalDisplay
from ._typical_images import TypicalImagesDisplay

__all__ = [
    "AttributeDirectionDisplay",
    "ConstraintHistoryDisplay",
    "ContributionDisplay",
    "DistanceContourDisplay",
    "EmbeddingDisplay",
    "GenerationReportDisplay",
    "LatentArithmeticDisplay",
    "LatentGridDisplay",
    "MemorisationReportDisplay",
    "NearestRealDisplay",
    "ReconstructionDisplay",
    "ReferenceLawDisplay",
    "SampleGridDisplay",
    "ScoreDistributionDisplay",
    "SearchCurveDisplay",
    "ShepardDisplay",
    "TrainingHistoryDisplay",
    "TraversalDisplay",
    "TypicalImagesDisplay",
]
