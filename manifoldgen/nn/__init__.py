"""Networks: torch alone, no scikit-learn."""

from .explicit import (
    LOSS_AND_SLOPE,
    CriticPass,
    ExplicitPasses,
    critic_backward,
    critic_forward,
)
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
from .splines import SplineFlow, even_linear
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
    "CriticPass",
    "Dropout",
    "ExplicitPasses",
    "FourierFeatures",
    "LandmarkEncoder",
    "SpectralCritic",
    "SplineFlow",
    "VelocityField",
    "bind_generator",
    "critic_backward",
    "critic_forward",
    "even_linear",
    "follow",
    "inverse_spread",
    "linear_velocity",
    "log_density",
    "map_rows",
]
