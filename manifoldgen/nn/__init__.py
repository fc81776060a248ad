"""Networks: torch alone, no scikit-learn."""

from .explicit import LOSS_AND_SLOPE, ExplicitPasses
from .inference import map_rows
from .landmarks import LandmarkEncoder
from .modules import (
    ACTIVATIONS,
    MLP,
    ConvDecoder,
    ConvEncoder,
    Critic,
    Dropout,
    FourierFeatures,
    SpectralCritic,
    bind_generator,
)
from .velocity import (
    SOLVERS,
    VelocityField,
    follow,
    inverse_spread,
    linear_velocity,
    log_density,
)

__all__ = [
    "ACTIVATIONS",
    "LOSS_AND_SLOPE",
    "MLP",
    "SOLVERS",
    "ConvDecoder",
    "ConvEncoder",
    "Critic",
    "Dropout",
    "ExplicitPasses",
    "FourierFeatures",
    "LandmarkEncoder",
    "SpectralCritic",
    "VelocityField",
    "bind_generator",
    "follow",
    "inverse_spread",
    "linear_velocity",
    "log_density",
    "map_rows",
]
