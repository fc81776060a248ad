"""An encoder whose answer is a place among the landmarks of a map.

A network that returns coordinates puts a row that may belong to two islands of a map
into the gap between, and has to carry a group of rows past all others to move it. A
network that says how likely each landmark is, and answers with the place where most of
that lies, does neither.
"""

from typing import cast

import torch
from torch import Tensor, nn


class LandmarkEncoder(nn.Module):
    r"""Place a row where the likeliest landmarks of a map are.

    A network gives a probability p_k to each landmark c_k. The mode m is the landmark
    around which most probability lies, and the answer is the mean of the landmarks
    near the mode, weighted by p:

    .. math:: z = \sum_k p_k w_{mk} c_k \big/ \sum_k p_k w_{mk}, \quad
              m = \arg\max_j \sum_k p_k w_{jk}, \quad
              w_{jk} = \exp(-|c_j - c_k|^2 / 2 (2 r)^2)

    It is trained by its places, or by the cross-entropy of its probabilities and
    `affinities`.

    Parameters
    ----------
    network : torch.nn.Module
        Maps rows to one logit for each landmark.
    landmarks : Tensor of shape (n_landmarks, n_components)
    radius : float
        The r above, in units of the map, > 0.
    """

    def __init__(self, network: nn.Module, landmarks: Tensor, radius: float) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("landmarks", landmarks)
        self.register_buffer("radius", torch.tensor(float(radius)))
        # reserved before it is computed: a file may name more landmarks than there is
        # memory for, which is found out here
        near = torch.empty(len(landmarks), len(landmarks), dtype=landmarks.dtype)
        squared = torch.cdist(landmarks, landmarks).square()
        self.register_buffer("near", near.copy_((-0.125 * squared / radius**2).exp()))

    def affinities(self, z: Tensor) -> Tensor:
        """Return what the probabilities should be at places, (n, n_landmarks).

        ``exp(-|z - c_k|^2 / (2 r^2))``, divided by its sum over the landmarks; NaN for
        places that are.
        """
        squared = torch.cdist(z, cast(Tensor, self.landmarks)).square()
        return torch.softmax(-0.5 * squared / cast(Tensor, self.radius) ** 2, dim=1)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the landmarks, of shape (n, n_landmarks)."""
        return cast(Tensor, self.network(x))

    def place(self, logits: Tensor) -> Tensor:
        """Return the places that logits stand for, of shape (n, n_components)."""
        landmarks, near = cast(Tensor, self.landmarks), cast(Tensor, self.near)
        with torch.autocast(logits.device.type, enabled=False):  # places need digits
            p = torch.softmax(logits.to(near.dtype), dim=1)
            weights = p * near[(p.detach() @ near).argmax(dim=1)]
            return weights @ landmarks / weights.sum(dim=1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows to places of shape (n, n_components)."""
        return self.place(self.logits(x))
