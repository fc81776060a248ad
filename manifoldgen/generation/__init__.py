"""Generators: p(Z), drawn by `sample`."""

from ._augmenter import GenerativeAugmenter
from ._flow_matching import LatentFlowMatching
from ._gan import LatentGAN
from ._image_gan import ImageGAN
from ._joint import JointGenerator
from ._mahalanobis import MahalanobisGenerator
from ._mixture import LatentMixture
from ._normalizing_flow import LatentNormalizingFlow

__all__ = [
    "GenerativeAugmenter",
    "ImageGAN",
    "JointGenerator",
    "LatentFlowMatching",
    "LatentGAN",
    "LatentMixture",
    "LatentNormalizingFlow",
    "MahalanobisGenerator",
]
