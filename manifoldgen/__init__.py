"""Learn the manifold that data lie on, score against it and generate from it.

Public names are imported when they are first used, so that ``import manifoldgen``
loads nothing but the standard library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AdversarialAutoencoderManifold": "manifold",
    "AttributeDirection": "latent",
    "AttributeDirectionDisplay": "plotting",
    "AutoencoderManifold": "manifold",
    "ClassifierFeatures": "features",
    "ConstraintHistoryDisplay": "plotting",
    "ContributionDisplay": "plotting",
    "DistanceContourDisplay": "plotting",
    "DistilledManifold": "manifold",
    "EmbeddingDisplay": "plotting",
    "FeatureSelection": "model_selection",
    "GenerationReport": "report",
    "GenerationReportDisplay": "plotting",
    "GenerativeAugmenter": "generation",
    "GenerativePipeline": "pipeline",
    "ImageAugmenter": "imaging",
    "ImageGAN": "generation",
    "JointGenerator": "generation",
    "LatentArithmeticDisplay": "plotting",
    "LatentFlowMatching": "generation",
    "LatentGAN": "generation",
    "LatentGridDisplay": "plotting",
    "LatentMixture": "generation",
    "LatentNormalizingFlow": "generation",
    "MahalanobisConstraint": "constraints",
    "MahalanobisGenerator": "generation",
    "MahalanobisScorer": "outliers",
    "ManifoldScorer": "outliers",
    "MemorisationReport": "report",
    "MemorisationReportDisplay": "plotting",
    "NearestRealDisplay": "plotting",
    "NeighborIndex": "neighbors",
    "NeighborManifold": "manifold",
    "PretrainedFeatures": "features",
    "ReconstructionDisplay": "plotting",
    "ReferenceLawDisplay": "plotting",
    "SampleGridDisplay": "plotting",
    "ScoreDistributionDisplay": "plotting",
    "ScoreOutlierDetector": "outliers",
    "SearchCurveDisplay": "plotting",
    "SelfSupervisedFeatures": "features",
    "ShepardDisplay": "plotting",
    "TSNEManifold": "manifold",
    "TrainingHistoryDisplay": "plotting",
    "TraversalDisplay": "plotting",
    "TypicalImagesDisplay": "plotting",
    "UMAPManifold": "manifold",
    "VAEManifold": "manifold",
    "attribute_direction": "latent",
    "call_last": "pipeline",
    "classifier_two_sample_test": "metrics",
    "continuity": "metrics",
    "coranking_curve": "metrics",
    "embedding_scorer": "model_selection",
    "energy_distance": "metrics",
    "evaluate_generator": "report",
    "feature_module": "constraints",
    "frechet_distance": "metrics",
    "frechet_distance_limit": "metrics",
    "generation_scorer": "model_selection",
    "interpolate": "latent",
    "interpolate_latents": "latent",
    "intrinsic_dimension": "metrics",
    "kernel_distance": "metrics",
    "latent_arithmetic": "latent",
    "load": "persistence",
    "make_generative_pipeline": "pipeline",
    "membership_auc": "metrics",
    "memorisation_report": "report",
    "mode_coverage": "metrics",
    "nearest_neighbors": "neighbors",
    "nearest_real": "latent",
    "neighbor_label_accuracy": "metrics",
    "neighbor_recall": "metrics",
    "one_standard_error": "model_selection",
    "precision_recall_density_coverage": "metrics",
    "round_trip_error": "metrics",
    "sample_from": "pipeline",
    "save": "persistence",
    "select_features": "model_selection",
    "shepard_correlation": "metrics",
    "shepard_pairs": "metrics",
    "shift_attribute": "latent",
    "sliced_wasserstein": "metrics",
    "train_on_synthetic": "metrics",
    "triplet_accuracy": "metrics",
    "trustworthiness": "metrics",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


if TYPE_CHECKING:
    from .constraints import MahalanobisConstraint as MahalanobisConstraint
    from .constraints import feature_module as feature_module
    from .features import ClassifierFeatures as ClassifierFeatures
    from .features import PretrainedFeatures as PretrainedFeatures
    from .features import SelfSupervisedFeatures as SelfSupervisedFeatures
    from .generation import GenerativeAugmenter as GenerativeAugmenter
    from .generation import ImageGAN as ImageGAN
    from .generation import JointGenerator as JointGenerator
    from .generation import LatentFlowMatching as LatentFlowMatching
    from .generation import LatentGAN as LatentGAN
    from .generation import LatentMixture as LatentMixture
    from .generation import LatentNormalizingFlow as LatentNormalizingFlow
    from .generation import MahalanobisGenerator as MahalanobisGenerator
    from .imaging import ImageAugmenter as ImageAugmenter
    from .latent import AttributeDirection as AttributeDirection
    from .latent import attribute_direction as attribute_direction
    from .latent import interpolate as interpolate
    from .latent import interpolate_latents as interpolate_latents
    from .latent import latent_arithmetic as latent_arithmetic
    from .latent import nearest_real as nearest_real
    from .latent import shift_attribute as shift_attribute
    from .manifold import (
        AdversarialAutoencoderManifold as AdversarialAutoencoderManifold,
    )
    from .manifold import AutoencoderManifold as AutoencoderManifold
    from .manifold import DistilledManifold as DistilledManifold
    from .manifold import NeighborManifold as NeighborManifold
    from .manifold import TSNEManifold as TSNEManifold
    from .manifold import UMAPManifold as UMAPManifold
    from .manifold import VAEManifold as VAEManifold
    from .metrics import classifier_two_sample_test as classifier_two_sample_test
    from .metrics import continuity as continuity
    from .metrics import coranking_curve as coranking_curve
    from .metrics import energy_distance as energy_distance
    from .metrics import frechet_distance as frechet_distance
    from .metrics import frechet_distance_limit as frechet_distance_limit
    from .metrics import intrinsic_dimension as intrinsic_dimension
    from .metrics import kernel_distance as kernel_distance
    from .metrics import membership_auc as membership_auc
    from .metrics import mode_coverage as mode_coverage
    from .metrics import neighbor_label_accuracy as neighbor_label_accuracy
    from .metrics import neighbor_recall as neighbor_recall
    from .metrics import (
        precision_recall_density_coverage as precision_recall_density_coverage,
    )
    from .metrics import round_trip_error as round_trip_error
    from .metrics import shepard_correlation as shepard_correlation
    from .metrics import shepard_pairs as shepard_pairs
    from .metrics import sliced_wasserstein as sliced_wasserstein
    from .metrics import train_on_synthetic as train_on_synthetic
    from .metrics import triplet_accuracy as triplet_accuracy
    from .metrics import trustworthiness as trustworthiness
    from .model_selection import FeatureSelection as FeatureSelection
    from .model_selection import embedding_scorer as embedding_scorer
    from .model_selection import generation_scorer as generation_scorer
    from .model_selection import one_standard_error as one_standard_error
    from .model_selection import select_features as select_features
    from .neighbors import NeighborIndex as NeighborIndex
    from .neighbors import nearest_neighbors as nearest_neighbors
    from .outliers import MahalanobisScorer as MahalanobisScorer
    from .outliers import ManifoldScorer as ManifoldScorer
    from .outliers import ScoreOutlierDetector as ScoreOutlierDetector
    from .persistence import load as load
    from .persistence import save as save
    from .pipeline import GenerativePipeline as GenerativePipeline
    from .pipeline import call_last as call_last
    from .pipeline import make_generative_pipeline as make_generative_pipeline
    from .pipeline import sample_from as sample_from
    from .plotting import AttributeDirectionDisplay as AttributeDirectionDisplay
    from .plotting import ConstraintHistoryDisplay as ConstraintHistoryDisplay
    from .plotting import ContributionDisplay as ContributionDisplay
    from .plotting import DistanceContourDisplay as DistanceContourDisplay
    from .plotting import EmbeddingDisplay as EmbeddingDisplay
    from .plotting import GenerationReportDisplay as GenerationReportDisplay
    from .plotting import LatentArithmeticDisplay as LatentArithmeticDisplay
    from .plotting import LatentGridDisplay as LatentGridDisplay
    from .plotting import MemorisationReportDisplay as MemorisationReportDisplay
    from .plotting import NearestRealDisplay as NearestRealDisplay
    from .plotting import ReconstructionDisplay as ReconstructionDisplay
    from .plotting import ReferenceLawDisplay as ReferenceLawDisplay
    from .plotting import SampleGridDisplay as SampleGridDisplay
    from .plotting import ScoreDistributionDisplay as ScoreDistributionDisplay
    from .plotting import SearchCurveDisplay as SearchCurveDisplay
    from .plotting import ShepardDisplay as ShepardDisplay
    from .plotting import TrainingHistoryDisplay as TrainingHistoryDisplay
    from .plotting import TraversalDisplay as TraversalDisplay
    from .plotting import TypicalImagesDisplay as TypicalImagesDisplay
    from .report import GenerationReport as GenerationReport
    from .report import MemorisationReport as MemorisationReport
    from .report import evaluate_generator as evaluate_generator
    from .report import memorisation_report as memorisation_report
