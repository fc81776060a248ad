"""Images as rows of features: by networks from a file, trained here, or random."""

from ._classifier import ClassifierFeatures
from ._pretrained import PretrainedFeatures
from ._self_supervised import SelfSupervisedFeatures

__all__ = ["ClassifierFeatures", "PretrainedFeatures", "SelfSupervisedFeatures"]
