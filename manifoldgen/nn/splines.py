"""Invertible networks of splines: exact densities, and a short way back."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MixtureNoise(nn.Module):
    """The density of a mixture of Gaussians, which is fixed and not learned.

    Parameters
    ----------
    n_columns : int
        Width d of a row.
    n_components : int
        Gaussians k, all of weight 1 at the origin until they are set.
    n_classes : int
        Width of the one-hot label, each with weights of its own; 0 is none.
    """

    log_weights: Tensor
    means: Tensor
    roots: Tensor

    def __init__(self, n_columns: int, n_components: int, n_classes: int) -> None:
        super().__init__()
        weights = torch.zeros(max(n_classes, 1), n_components)
        self.register_buffer("log_weights", weights - float(np.log(n_components)))
        self.register_buffer("means", torch.zeros(n_components, n_columns))
        roots = torch.eye(n_columns).repeat(n_components, 1, 1)
        self.register_buffer("roots", roots)

    def set(self, weights: Any, means: Any, roots: Any) -> None:
        """Take weights (classes, k), means (k, d) and roots of precisions (k, d, d).

        Where fewer than `n_components` are given, the others get no weight.
        """
        self.log_weights.fill_(-torch.inf)
        n = len(means)
        self.log_weights[:, :n] = torch.as_tensor(weights).log()
        self.means[:n] = torch.as_tensor(means)
        self.roots[:n] = torch.as_tensor(roots)

    def log_density(self, z: Tensor, label: Tensor) -> Tensor:
        """Return the log-density in nats, of shape (n,), of rows of shape (n, d)."""
        k, d = self.means.shape
        # a product of all roots at once, the difference from the means after it
        flat = self.roots.permute(0, 2, 1).reshape(k * d, d)
        shifts = torch.einsum("kij,ki->kj", self.roots, self.means)
        white = even_linear(z, flat, None).view(-1, k, d) - shifts
        peaks = self.roots.diagonal(dim1=1, dim2=2).log().sum(1)
        nats = peaks - 0.5 * (white.square() + float(np.log(2.0 * np.pi))).sum(2)
        codes = label.argmax(1) if label.shape[1] else 0
        return (nats + self.log_weights[codes]).logsumexp(1)

    def draw(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return a row of noise for each code of a class, of shape (n, d)."""
        chances = self.log_weights.exp()[codes]
        k = torch.multinomial(chances, 1, generator=generator).squeeze(1)
        white = torch.empty(len(k), self.means.shape[1]).to(self.means)
        white.normal_(generator=generator)
        # white = root^T (z - mean), as in the density
        apart = torch.linalg.solve(self.roots.mT[k], white.unsqueeze(2))
        return self.means[k] + apart.squeeze(2)


def even_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x @ weight.T + bias``, with a column of zeros where x has odd width.

    Every other row of odd width starts off the grid of a processor's registers, and
    its products may be added in another order than those of the row before.
    """
    odd = weight.shape[1] % 2
    return F.linear(F.pad(x, (0, odd)), F.pad(weight, (0, odd)), bias)


class _EvenLinear(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return even_linear(x, self.weight, self.bias)


class SplineFlow(nn.Module):
    """Rows to noise by coupled monotonic splines, and back.

    Each of the transforms bends half of the columns by rational-quadratic splines on
    [-5, 5] that a perceptron chooses by the other half [1]_. So rows and noise are one
    pass apart either way, where an autoregressive flow needs as many passes as columns
    for one of the two. The halves come in pairs that are drawn anew, but always alike.
    Untrained it is the identity. Noise is a mixture of Gaussians, so that the flow need
    not tear what is one, nor bridge what is many.

    Parameters
    ----------
    n_columns : int
        Width d of a row. A single column is bent by the label alone.
    n_classes : int
        Width of the one-hot label that the perceptrons see too; 0 is none.
    n_transforms : int
    hidden_sizes : sequence of int
        Widths of the hidden layers of each perceptron.
    n_bins : int
        Pieces of each spline.
    n_components : int, default=1
        Gaussians of the noise, see `MixtureNoise`.

    References
    ----------
    .. [1] C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, "Neural spline flows",
       NeurIPS 2019, arXiv:1906.04032, sections 3.1 and 3.2, as zuko builds it.

    Examples
    --------
    >>> flow = SplineFlow(2, 0, n_transforms=2, hidden_sizes=(8,), n_bins=4)
    >>> nats = flow.log_density(torch.zeros(1, 2), torch.zeros(1, 0))
    >>> round(nats.item(), 4)  # -log(2 pi)
    -1.8379
    """

    def __init__(
        self,
        n_columns: int,
        n_classes: int,
        n_transforms: int,
        hidden_sizes: Sequence[int],
        n_bins: int,
        n_components: int = 1,
    ) -> None:
        super().__init__()
        # weights come from the global generator, which the caller has to shield
        from zuko.flows import GeneralCouplingTransform
        from zuko.transforms import MonotonicRQSTransform

        self.n_columns, self.n_classes = n_columns, n_classes
        self.noise = MixtureNoise(n_columns, n_components, n_classes)
        halves = _halves(n_columns, n_transforms)
        self.transforms = nn.ModuleList(
            GeneralCouplingTransform(
                n_columns,
                n_classes,
                mask=half,
                univariate=MonotonicRQSTransform,
                shapes=[(n_bins,), (n_bins,), (n_bins - 1,)],
                hidden_features=tuple(hidden_sizes),
                activation=nn.SiLU,
            )
            for half in halves
        )
        with torch.no_grad():
            for transform in self.transforms:
                ends = list(transform.parameters())
                # of a single column without labels the parameters are the splines
                flat = n_columns == 1 and not n_classes
                for parameter in ends if flat else ends[-2:]:
                    parameter.zero_()

    def log_density(self, x: Tensor, label: Tensor) -> Tensor:
        """Return the log-density in nats, of shape (n,), of rows of shape (n, d)."""
        context = label if self.n_classes else None
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for transform in self.transforms:
            x, nats = transform(context).call_and_ladj(x)
            total = total + nats
        return total + self.noise.log_density(x, label)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """Return the rows, of shape (n, d), that rows of noise stand for."""
        context = label if self.n_classes else None
        for transform in reversed(self.transforms):
            z = transform(context).inv(z)
        return z

    def in_double(self) -> "SplineFlow":
        """Return a copy in float64 for which a row's place in a block is all the same.

        In float32 the root in the way back through a steep spline may be of a negative
        number.
        """
        wide = copy.deepcopy(self).double()
        for transform in wide.transforms:
            for name, layer in getattr(
                transform, "hyper", nn.Module()
            ).named_children():
                if hasattr(layer, "in_features"):
                    setattr(transform.hyper, name, _EvenLinear(layer))
        return wide


def _halves(n_columns: int, n_transforms: int) -> list[Any]:
    """Return masks of the columns that each transform leaves as they are."""
    rng = np.random.RandomState(0)
    masks: list[Any] = []
    while len(masks) < n_transforms:
        half = rng.permutation(n_columns) < n_columns // 2
        masks += [torch.tensor(half), torch.tensor(~half)]
    return masks[:n_transforms]
