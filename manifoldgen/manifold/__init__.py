"""Manifolds: X -> Z -> X."""

from ._adversarial import AdversarialAutoencoderManifold
from ._adversarial_program import AdversarialProgram, DataGame, LatentGame
from ._autoencoder import AutoencoderManifold
from ._autoencoder_program import AutoencoderProgram
from ._distilled import DistilledManifold
from ._neighbor import NeighborManifold
from ._tsne import TSNEManifold
from ._umap import UMAPManifold
from ._variational import VAEManifold
from ._variational_program import VariationalProgram

__all__ = [
    "AdversarialAutoencoderManifold",
    "AdversarialProgram",
    "AutoencoderManifold",
    "AutoencoderProgram",
    "DataGame",
    "DistilledManifold",
    "LatentGame",
    "NeighborManifold",
    "TSNEManifold",
    "UMAPManifold",
    "VAEManifold",
    "VariationalProgram",
]
