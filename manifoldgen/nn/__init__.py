"""Networks: torch alone, no scikit-learn."""

from .inference import map_rows
from .modules import (
    ACTIVATIONS,
    MLP,
    ConvDecoder,
    ConvEncoder,
    Critic,
    Dropout,
    bind_generator,
)

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "Critic",
    "Dropout",
    "bind_generator",
    "map_rows",
]
