"""Models and transformers of images."""

from ._augmenter import ImageAugmenter

__all__ = ["ImageAugmenter"]
