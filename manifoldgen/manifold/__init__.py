"""Manifolds: X -> Z -> X."""

from ._autoencoder import AutoencoderManifold, AutoencoderProgram

__all__ = ["AutoencoderManifold", "AutoencoderProgram"]
