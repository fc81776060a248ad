"""The velocity of a flow from noise to rows, how to follow it, and what it spreads."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .modules import linear

SOLVERS = ("euler", "heun")
"""Names of the ways to follow a velocity."""

Velocity = Callable[[Tensor, Tensor], Tensor]

_N_FREQUENCIES = 32
_FASTEST = 200.0  # radians over the whole way
_N_EMBEDDED = 128
_GAIN = 1 / 3  # with 2, as in perceptrons, samples of digits are farther by a sixth


class ResidualBlock(nn.Module):
    """``h + W2 silu(W1 normalise(h) + V e)``, with W2 small at first.

    Parameters
    ----------
    width, hidden_size, n_embedded : int
        Widths of h, of the inside, and of the embedding e.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.
    """

    def __init__(
        self,
        width: int,
        hidden_size: int,
        n_embedded: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.inner = linear(width, hidden_size, generator, _GAIN)
        self.condition = linear(n_embedded, hidden_size, generator, _GAIN)
        self.outer = linear(hidden_size, width, generator, _GAIN)
        with torch.no_grad():
            self.outer.weight.mul_(0.1)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        """Map (n, width) and (n, n_embedded) to (n, width)."""
        inner = self.inner(F.layer_norm(h, h.shape[1:])) + self.condition(embedded)
        return h + self.outer(F.silu(inner))

    def with_slopes(
        self, h: Tensor, slopes: Tensor, embedded: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the output, and its slopes for those of h, (n_slopes, n, width)."""
        spread = (h.var(1, correction=0) + 1e-5).rsqrt().unsqueeze(1)
        normal = (h - h.mean(1, keepdim=True)) * spread
        slope = slopes - slopes.mean(2, keepdim=True)
        slope = spread * (slope - normal * (normal * slope).mean(2, keepdim=True))
        inner = self.inner(normal) + self.condition(embedded)
        slope = silu_slope(inner) * (slope @ self.inner.weight.t())
        outer = self.outer(F.silu(inner))
        return h + outer, slopes + slope @ self.outer.weight.t()


class VelocityField(nn.Module):
    r"""v(x, t, y) on the way ``x = t x_1 + (1 - t) x_0`` from noise to rows.

    For rows that are standard normal themselves the best field is
    ``(2 t - 1) / s^2 x`` with ``s^2 = t^2 + (1 - t)^2``; what is left has the standard
    deviation 1 / s. The network sees x / s and learns the rest in that unit, as in
    [1]_, so that it begins as the flow to a normal distribution.

    Parameters
    ----------
    n_features, n_classes : int
        Widths of a row and of its one-hot label, 0 without labels.
    hidden_sizes : sequence of int
        Widths inside the residual blocks; the first is that of the rows between them.
    generator : torch.Generator or None, default=None
        Where the weights are drawn from.

    References
    ----------
    .. [1] T. Karras et al., "Elucidating the design space of diffusion-based generative
       models", NeurIPS 2022, arXiv:2206.00364, Eq. (7), for straight ways.
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        hidden_sizes: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        width = hidden_sizes[0]
        steps = torch.linspace(0.0, math.log(_FASTEST), _N_FREQUENCIES)
        self.register_buffer("frequencies", steps.exp())
        # of odd width, products would add up in an order that hangs on a row's place
        self._padding = n_classes % 2
        n_known = 2 * _N_FREQUENCIES + n_classes + self._padding
        self.embed = linear(n_known, _N_EMBEDDED, generator, _GAIN)
        self.first = linear(n_features, width, generator, _GAIN)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, size, _N_EMBEDDED, generator) for size in hidden_sizes
        )
        self.last = linear(width, n_features, generator, _GAIN)
        with torch.no_grad():
            self.last.weight.zero_()

    def residual(self, x: Tensor, t: Tensor, labels: Sequence[Tensor] = ()) -> Tensor:
        """Return what the network adds, in units of 1 / s."""
        embedded = self._embedded(t, labels)
        h = self.first(x * inverse_spread(t))
        for block in self.blocks:
            h = block(h, embedded)
        return self.last(F.silu(h))

    def _embedded(self, t: Tensor, labels: Sequence[Tensor]) -> Tensor:
        angles = t * cast(Tensor, self.frequencies)
        known = torch.cat([angles.sin(), angles.cos(), *labels], 1)
        if self._padding:
            known = F.pad(known, (0, 1))
        return F.silu(self.embed(known))

    def widened(self) -> "VelocityField":
        """Return a copy for rows with one column more, which is standard normal."""
        wide = copy.deepcopy(self)
        with torch.no_grad():
            wide.first.weight = nn.Parameter(F.pad(self.first.weight, (0, 1)))
            wide.last.weight = nn.Parameter(F.pad(self.last.weight, (0, 0, 0, 1)))
            wide.last.bias = nn.Parameter(F.pad(self.last.bias, (0, 1)))
        return wide

    def with_divergence(
        self, x: Tensor, t: Tensor, labels: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return the velocity of rows, and the trace of its derivative in x, (n,).

        Forwards, with a derivative for each column of x, and written out: it costs
        n_features passes, and no bookkeeping for them.
        """
        n_features, scale = x.shape[1], inverse_spread(t)
        embedded = self._embedded(t, labels)
        h = self.first(x * scale)
        slopes = self.first.weight.t().unsqueeze(1) * scale
        for block in self.blocks:
            h, slopes = cast(ResidualBlock, block).with_slopes(h, slopes, embedded)
        slopes = silu_slope(h) * slopes
        trace = torch.einsum("cnw,cw->n", slopes, self.last.weight)
        v = linear_velocity(x, t) + scale * self.last(F.silu(h))
        linear_part = (2.0 * t - 1.0) * scale.square() * n_features
        return v, linear_part.squeeze(1) + scale.squeeze(1) * trace

    def forward(self, x: Tensor, t: Tensor, labels: Sequence[Tensor] = ()) -> Tensor:
        """Map rows (n, n_features) at times (n, 1), and one-hot labels, to velocities.

        A row of zeros is the label of rows of any class.
        """
        scale = inverse_spread(t)
        return linear_velocity(x, t) + scale * self.residual(x, t, labels)


def silu_slope(x: Tensor) -> Tensor:
    """Return the derivative of ``x sigmoid(x)``."""
    share = torch.sigmoid(x)
    return share * (1.0 + x * (1.0 - share))


def inverse_spread(t: Tensor) -> Tensor:
    """Return ``1 / s = (t^2 + (1 - t)^2)^(-1/2)``."""
    return (t.square() + (1.0 - t).square()).rsqrt()


def linear_velocity(x: Tensor, t: Tensor) -> Tensor:
    """Return the velocity from standard normal noise to standard normal rows."""
    return (2.0 * t - 1.0) * inverse_spread(t).square() * x


def follow(
    velocity: Velocity,
    x: Tensor,
    n_steps: int,
    solver: str = "heun",
) -> Tensor:
    """Return where rows at time 0 are at time 1.

    Parameters
    ----------
    velocity : callable
        Maps rows (n, n_features) and times (n, 1) to velocities.
    x : Tensor of shape (n, n_features)
    n_steps : int
        Steps of one length.
    solver : {"euler", "heun"}, default="heun"
        Heun asks for two velocities a step and is right to the second order.
    """
    step = 1.0 / n_steps
    for number in range(n_steps):
        x = step_along(velocity, x, number * step, (number + 1) * step, solver, step)
    return x


def step_along(
    velocity: Velocity,
    x: Tensor,
    now: float | Tensor,
    then: float | Tensor,
    solver: str = "heun",
    step: float | None = None,
) -> Tensor:
    """Return where rows at time `now` are at time `then`, after one step of a solver.

    `step` is the difference of the times, where it is known to more digits.
    """
    length = then - now if step is None else step
    v = velocity(x, _at(x, now))
    if solver == "heun":
        v = 0.5 * (v + velocity(x + length * v, _at(x, then)))
    return x + length * v


def log_density(
    field: VelocityField, x: Tensor, labels: Sequence[Tensor], n_steps: int
) -> Tensor:
    """Return the log-density of rows at time 1, in nats, of shape (n,).

    Rows are followed back to time 0, where their density is standard normal, and the
    divergence on the way is added up [1]_. It is exact, the sum of n_features
    derivatives; the way back is that of Runge and Kutta of the fourth order.

    References
    ----------
    .. [1] R. T. Q. Chen et al., "Neural ordinary differential equations", NeurIPS
       2018, arXiv:1806.07366, Eq. (8).
    """
    step = -1.0 / n_steps
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for number in range(n_steps):
        start = 1.0 + number * step
        slopes: list[Tensor] = []
        spreads: list[Tensor] = []
        for share in (0.0, 0.5, 0.5, 1.0):
            at = x + share * step * slopes[-1] if slopes else x
            time = _at(x, start + share * step)
            v, spread = field.with_divergence(at, time, labels)
            slopes.append(v)
            spreads.append(spread)
        x = x + step * _runge_kutta(slopes)
        total = total + step * _runge_kutta(spreads)
    normal = -0.5 * (x.square() + math.log(2.0 * math.pi)).sum(1)
    return normal + total


def _runge_kutta(parts: list[Tensor]) -> Tensor:
    a, b, c, d = parts
    return (a + 2.0 * b + 2.0 * c + d) / 6.0


def _at(x: Tensor, time: float | Tensor) -> Tensor:
    if isinstance(time, Tensor):
        return time.to(x.dtype).expand(len(x), 1)
    return torch.full((len(x), 1), time, dtype=x.dtype, device=x.device)
