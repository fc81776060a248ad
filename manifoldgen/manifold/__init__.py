"""Manifolds: X -> Z -> X."""

from ._autoencoder import AutoencoderManifold
from ._autoencoder_program import AutoencoderProgram

__all__ = ["AutoencoderManifold", "AutoencoderProgram"]
