"""Generators: p(Z), drawn by `sample`."""

from ._gan import LatentGAN

__all__ = ["LatentGAN"]
