"""Tools for latent space: what lies in it, which ways lead through it."""

from ._coordinates import coordinates, invertible_part, without_generator
from ._paths import interpolate, interpolate_latents, latent_paths

__all__ = [
    "coordinates",
    "interpolate",
    "interpolate_latents",
    "invertible_part",
    "latent_paths",
    "without_generator",
]
