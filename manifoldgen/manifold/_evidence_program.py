"""What programs share that raise a bound of the evidence, in nats a row."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..nn import bind_generator
from ..training import Program, RunningAverage


class EvidenceProgram(Program):
    """Networks under one optimizer, a weight beta that grows, and running averages.

    Parameters
    ----------
    networks : dict of str to torch.nn.Module
        Those that learn.
    optimizer : torch.optim.Optimizer
        Of all their parameters.
    beta : float
        Weight of the divergence, which grows to it from 0 over `warmup_steps`.
    free_bits : float
        Nats of the divergence that cost nothing.
    average_decay : float
        Weight of the past in running averages of the networks, which are then the
        `final` ones; 0 for none.
    warmup_steps, n_steps : int
        Steps over which beta grows, and how many are over.
    prepare : callable or None
        Brings rows to units of the networks.
    half, foreign : bool
    """

    def __init__(
        self,
        networks: dict[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        beta: float,
        free_bits: float,
        average_decay: float,
        warmup_steps: int,
        n_steps: int,
        prepare: Callable[[Tensor], Tensor] | None,
        half: bool,
        foreign: bool,
    ) -> None:
        super().__init__()
        self.networks = self.final = networks
        self.beta, self.free_bits = beta, free_bits
        self.warmup_steps, self.n_steps = warmup_steps, n_steps
        self.prepare = prepare
        self.half, self.foreign = half, foreign
        self.modules = dict(networks)
        self.optimizers = {"optimizer": optimizer}
        self._bound: torch.Generator | None = None
        if average_decay:
            self.final = copy.deepcopy(networks)
            for name, module in self.final.items():
                self.modules[f"average_{name}"] = module.eval()
                self.averages[name] = RunningAverage(
                    networks[name], module, average_decay
                )

    def state_dict(self) -> dict[str, Any]:
        """Return what `Program` does, and how many steps are over."""
        return {**super().state_dict(), "n_steps": self.n_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict(state)
        self.n_steps = state["n_steps"]

    def _descend(self, loss: Tensor) -> None:
        """Take a step of the optimizer, and of the averages."""
        (optimizer,) = self.optimizers.values()
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        for average in self.averages.values():
            average.update()
        self.n_steps += 1

    def _beta_now(self) -> float:
        if self.n_steps >= self.warmup_steps:
            return self.beta
        return self.beta * self.n_steps / self.warmup_steps

    def _copy_buffers(self) -> None:
        """Give the average the buffers of the networks, as those of BatchNorm."""
        if self.averages:
            for name, module in self.final.items():
                for mine, live in zip(
                    module.buffers(), self.networks[name].buffers(), strict=True
                ):
                    mine.copy_(live)

    def _bind(self, generator: torch.Generator) -> None:
        for module in self.networks.values():
            bind_generator(module, generator)
        self._set_training(True)
        self._bound = generator

    def _set_training(self, mode: bool) -> None:
        for module in self.networks.values():
            module.train(mode)

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if not (self.half and torch.is_grad_enabled()):  # judged in float32
            return nullcontext()
        return torch.autocast(x.device.type, dtype=torch.bfloat16)
