"""Manifolds: X -> Z -> X."""

from ._autoencoder import AutoencoderManifold
from ._autoencoder_program import AutoencoderProgram
from ._distilled import DistilledManifold
from ._neighbor import NeighborManifold
from ._tsne import TSNEManifold
from ._umap import UMAPManifold

__all__ = [
    "AutoencoderManifold",
    "AutoencoderProgram",
    "DistilledManifold",
    "NeighborManifold",
    "TSNEManifold",
    "UMAPManifold",
]
