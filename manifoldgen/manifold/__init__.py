"""Manifolds: X -> Z -> X."""

from ._autoencoder import AutoencoderManifold

__all__ = ["AutoencoderManifold"]
