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
    bind_generator,
)

__all__ = [
    "ACTIVATIONS",
    "LOSS_AND_SLOPE",
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "Critic",
    "Dropout",
    "ExplicitPasses",
    "FourierFeatures",
    "LandmarkEncoder",
    "bind_generator",
    "map_rows",
]
