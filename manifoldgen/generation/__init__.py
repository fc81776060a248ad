"""Generators: p(Z), drawn by `sample`."""

from ._flow_matching import LatentFlowMatching
from ._gan import LatentGAN
from ._joint import JointGenerator
from ._mixture import LatentMixture
from ._normalizing_flow import LatentNormalizingFlow

__all__ = [
    "JointGenerator",
    "LatentFlowMatching",
    "LatentGAN",
    "LatentMixture",
    "LatentNormalizingFlow",
]
