"""Nearest neighbours, exact or approximate: one search for all that need them."""

from ._distances import Neighbors, distance_blocks, recompute
from ._graph import nearest_neighbors, symmetric_components
from ._index import NeighborIndex

__all__ = [
    "NeighborIndex",
    "Neighbors",
    "distance_blocks",
    "nearest_neighbors",
    "recompute",
    "symmetric_components",
]
