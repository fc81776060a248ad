"""Fixed affine layers and what stands before or behind a trained network."""

from typing import cast

from torch import Tensor, nn


class Affine(nn.Module):
    """``(x - shift) * scale``, or ``(x - shift) @ matrix``, plus an offset.

    It computes, and returns, in the dtype of its fixed numbers, float64 as a rule: data
    whose mean is large beside their spread keep their digits.

    Parameters
    ----------
    shift : Tensor of shape (n_in,)
    factor : Tensor of shape (n_in,) or (n_in, n_out)
        The scale of each column, or a matrix.
    offset : Tensor of shape (n_out,), default=None
        Added at the end; None is zeros.

    Examples
    --------
    >>> import torch
    >>> Affine(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))(torch.ones(1, 2))
    tensor([[ 0., -4.]])
    """

    def __init__(
        self, shift: Tensor, factor: Tensor, offset: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("factor", factor)
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (n, n_in) to (n, n_out)."""
        shift, factor = cast(Tensor, self.shift), cast(Tensor, self.factor)
        centred = x.to(shift.dtype) - shift
        out = centred @ factor if factor.ndim == 2 else centred * factor
        return out if self.offset is None else out + cast(Tensor, self.offset)


class InDtypeOf(nn.Module):
    """A network that gets its rows in the dtype of its own weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map rows of any floating dtype."""
        first = next(self.network.parameters(), None)
        return cast(Tensor, self.network(x if first is None else x.to(first.dtype)))


class Columns(nn.Module):
    """The first columns of rows."""

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.n_columns = n_columns

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, more) to (n, n_columns)."""
        return x[:, : self.n_columns]


class Clamp(nn.Module):
    """Rows held to an interval."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Map rows to rows of the same shape."""
        return x.clamp(self.low, self.high)
