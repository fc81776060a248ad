"""What a flow from noise to rows is to the engine."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..nn import VelocityField, follow, inverse_spread, linear_velocity
from ..nn.constraints import DistanceConstraint
from ..nn.velocity import Velocity, step_along
from ..training import Batch, Program, RunningAverage

LABEL_DROPOUT = 0.1
"""Share of the rows that are learned without their label, where there are labels."""

_ROWS_A_ROLLOUT = 8
_STEPS_WITH_SLOPES = 3


class FlowMatchingProgram(Program):
    """Regress the velocity of straight ways from noise to rows.

    Minimises ``E s(t)^2 |v(x, t) - (x_1 - x_0)|^2`` for ``x = t x_1 + (1 - t) x_0``
    with t logit-normal and ``s^2 = t^2 + (1 - t)^2``, the squared error in units of
    what the best linear field leaves. A batch is rows x_1, their labels where there
    are some, and, where `paired`, the noise x_0 that each of them came from.

    A `constraint` holds rows that `n_steps` of `solver` take fresh noise to, for a part
    of the batch, by the last few of the steps. The end that a velocity on the way
    points to is no row that is made: it is the mean of many, and nearer than they are.
    """

    def __init__(
        self,
        field: VelocityField,
        average: VelocityField,
        optimizer: torch.optim.Optimizer,
        *,
        average_decay: float,
        probe_seed: int,
        half: bool = False,
        paired: bool = False,
        constraint: DistanceConstraint | None = None,
        constraint_noise: Tensor | None = None,
        n_steps: int = 15,
        solver: str = "heun",
    ) -> None:
        super().__init__()
        self.field, self.average = field, average
        self.optimizer = optimizer
        self.probe_seed = probe_seed
        self.half = half
        self.paired = paired
        self.modules = {"field": field, "average": average}
        self.optimizers = {"optimizer": optimizer}
        self.averages = {"field": RunningAverage(field, average, average_decay)}
        self.constraint, self.n_steps, self.solver = constraint, n_steps, solver
        self.constraint_noise = constraint_noise
        if constraint is not None:
            self.modules["constraint"] = constraint.multipliers
            self.figures = constraint.figures

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one gradient step on a batch of rows."""
        rows, noise, labels = self._parts(batch, generator)
        loss = flow_matching_loss(self.field, rows, noise, labels, generator, self.half)
        held: Tensor | float = 0.0
        figures: dict[str, Tensor] = {}
        if self.constraint is not None:
            held, figures = self._held(rows, labels, generator)
        self.optimizer.zero_grad(set_to_none=False)
        (loss + held).backward()
        self.optimizer.step()
        self.averages["field"].update()
        return {"loss": loss.detach(), **figures}

    def _held(
        self, rows: Tensor, labels: list[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what rows descend that few steps take noise to, and figures."""
        assert self.constraint is not None
        n = -(-len(rows) // _ROWS_A_ROLLOUT)
        of = [label[:n] for label in labels]
        noise = torch.empty_like(rows[:n]).normal_(generator=generator)
        share = torch.rand((), generator=generator, device=noise.device)
        velocity = partial(self._velocity, self.field, of)
        made = rollout(velocity, noise, self.n_steps, self.solver, share)
        return self.constraint.loss(made, self.constraint.codes_of(of))

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the loss of the averaged field on rows with noise that stays."""
        generator = torch.Generator(device=rows[0].device)
        generator.manual_seed(self.probe_seed)
        errors = []
        with torch.no_grad():
            for start in range(0, len(rows[0]), 1024):
                part = tuple(tensor[start : start + 1024] for tensor in rows)
                x, noise, labels = self._parts(part, generator)
                time = _logit_normal(len(x), generator)
                errors.append(self._errors(self.average, x, noise, time, labels))
        every = torch.cat(errors)
        deviation = every.std(correction=0) / len(every) ** 0.5
        found = {"loss": every.mean(), "loss_error": deviation}
        return found | self._broken(list(rows[1:]))

    @torch.no_grad()
    def _broken(self, labels: list[Tensor]) -> dict[str, Tensor]:
        """Return how samples, made for `labels` in turn, keep the constraint."""
        noise = self.constraint_noise
        if self.constraint is None or noise is None:
            return {}
        of = [label.repeat(-(-len(noise) // len(label)), 1) for label in labels]
        of = [label[: len(noise)] for label in of]
        velocity = partial(self._velocity, self.average, of)
        made = follow(velocity, noise, self.n_steps, self.solver)
        return self.constraint.broken(made, self.constraint.codes_of(of))

    def _velocity(
        self, field: VelocityField, labels: list[Tensor], x: Tensor, t: Tensor
    ) -> Tensor:
        return cast(Tensor, field(x, t, labels))

    def _parts(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return rows, noise and labels of a batch."""
        rows, *rest = batch
        if self.paired:
            return rows, rest[-1], list(rest[:-1])
        return rows, torch.empty_like(rows).normal_(generator=generator), rest

    def _errors(
        self,
        field: VelocityField,
        rows: Tensor,
        noise: Tensor,
        time: Tensor,
        labels: list[Tensor],
    ) -> Tensor:
        return velocity_errors(field, rows, noise, time, labels, self.half)


def rollout(
    velocity: Velocity, x: Tensor, n_steps: int, solver: str, share: Tensor
) -> Tensor:
    """Return where steps of a solver take noise, with slopes through the last few.

    The first of the steps is `share` of the others, which are as long as those of
    `sample`. A field that is held after coarse steps, or always at the same times,
    learns to be elsewhere after these very steps: of digits, a fifth of the samples
    was then beyond epsilon where a twentieth may be, and none in training.
    """
    inner = (torch.arange(n_steps, device=x.device) + share) / n_steps
    times = F.pad(F.pad(inner, (1, 0)), (0, 1), value=1.0)
    moved = x
    for number, (now, then) in enumerate(pairwise(times)):
        with torch.set_grad_enabled(number > n_steps - _STEPS_WITH_SLOPES):
            moved = step_along(velocity, moved, now, then, solver)
    return moved


def flow_matching_loss(
    field: VelocityField,
    rows: Tensor,
    noise: Tensor,
    labels: list[Tensor],
    generator: torch.Generator,
    half: bool = False,
) -> Tensor:
    """Return the mean error of the field between `noise` and `rows`, at drawn times.

    A share of the rows, where there are labels, is looked at without its own.
    """
    if labels:
        known = torch.empty(len(rows), 1, device=rows.device)
        known.bernoulli_(1.0 - LABEL_DROPOUT, generator=generator)
        labels = [labels[0] * known]
    time = _logit_normal(len(rows), generator)
    return velocity_errors(field, rows, noise, time, labels, half).mean()


def velocity_errors(
    field: VelocityField,
    rows: Tensor,
    noise: Tensor,
    time: Tensor,
    labels: list[Tensor],
    half: bool,
) -> Tensor:
    """Return the squared error of each row, averaged over its columns."""
    x = time * rows + (1.0 - time) * noise
    # (x_1 - x_0 - linear velocity) s, so that no large terms cancel at the ends
    wanted = (rows - noise - linear_velocity(x, time)) / inverse_spread(time)
    with _autocast(x, half):
        found = field.residual(x, time, labels)
    return (found.float() - wanted).square().mean(1)


def _autocast(x: Tensor, half: bool) -> AbstractContextManager[Any]:
    return torch.autocast(x.device.type, torch.bfloat16) if half else nullcontext()


def _logit_normal(n: int, generator: torch.Generator) -> Tensor:
    time = torch.empty(n, 1, device=generator.device)
    return time.normal_(generator=generator).sigmoid_()
