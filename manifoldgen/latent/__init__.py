"""Tools for latent space: what lies in it, which ways lead through it."""

from ._arithmetic import latent_arithmetic, mean_latents
from ._attributes import (
    AttributeDirection,
    attribute_direction,
    direction_of_latents,
    shift_attribute,
    shifted_latents,
    step_of,
)
from ._coordinates import (
    coordinates,
    invertible_part,
    latents_of_rows,
    without_generator,
)
from ._nearest_real import nearest_real
from ._paths import interpolate, interpolate_latents, latent_paths

__all__ = [
    "AttributeDirection",
    "attribute_direction",
    "coordinates",
    "direction_of_latents",
    "interpolate",
    "interpolate_latents",
    "invertible_part",
    "latent_arithmetic",
    "latent_paths",
    "latents_of_rows",
    "mean_latents",
    "nearest_real",
    "shift_attribute",
    "shifted_latents",
    "step_of",
    "without_generator",
]
