"""What a program is to the engine: losses, networks and optimizers."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from .weights import RunningAverage

Batch = tuple[Tensor, ...]


class Program(ABC):
    """Owns networks, losses and optimizers; the engine owns everything else.

    A subclass fills the dicts in its ``__init__`` and gives `step` and `validate`.

    Attributes
    ----------
    modules : dict of str to torch.nn.Module
        All networks, trained or averaged.
    optimizers : dict of str to torch.optim.Optimizer
    averages : dict of str to RunningAverage
    least_rows : int
        Rows of a batch, at least: a smaller one joins that before it.
    figures : frozenset of str
        Names of what `step` and `validate` return that is no loss: it may grow.
    foreign : bool
        Whether code that is not ours runs in `step` or `validate`; the engine then
        shields the global random generators.
    """

    def __init__(self) -> None:
        self.modules: dict[str, torch.nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.averages: dict[str, RunningAverage] = {}
        self.least_rows = 1
        self.figures: frozenset[str] = frozenset()
        self.foreign = False

    @abstractmethod
    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Update the networks on `batch` and return losses, detached scalars."""

    @abstractmethod
    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return figures of rows that are not trained on.

        "loss" is watched; "loss_error", where given, is its standard error. Where there
        is a constraint, "infeasibility" says how far it is broken, 0 where it is kept.
        """

    def weights(self) -> list[Tensor]:
        """Return every tensor that makes up the networks."""
        return [
            tensor
            for module in self.modules.values()
            for tensor in module.state_dict().values()
        ]

    def set_learning_rate(self, factor: float) -> None:
        """Set every learning rate to `factor` times what it began with."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
                group["lr"] = group["initial_lr"] * factor

    def forget_moments(self) -> None:
        """Clear the state of the optimizers."""
        for optimizer in self.optimizers.values():
            optimizer.state.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimizers and averages as tensors and plain data."""
        return {
            "modules": {k: m.state_dict() for k, m in self.modules.items()},
            "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()},
            "averages": {k: a.n_updates for k, a in self.averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, average in self.averages.items():
            average.n_updates = state["averages"][name]
