"""From a fitted manifold and a fitted generator to a program that trains both on."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._arrays import standardize, unstandardize
from .._random import draw_seed, torch_generator
from ..manifold._base import BaseManifold
from ..nn import Critic
from ..training import make_optimizer
from ._base import BaseGenerator
from ._drawing import draw_rows
from ._joint_program import JointProgram, Way

_POOL = 4  # draws for each row, of a generator that is not trained
_BETAS = (0.0, 0.99)


class Tuning:
    """Copies of a manifold and a generator, one pair to train and one to average.

    Latents are in units of the generator, in which its network makes them.

    Parameters
    ----------
    manifold : BaseManifold
        Fitted.
    generator : estimator
        Fitted on its latents.
    device : str
        Where the copies are.
    tune_generator : bool
        Whether the generator is trained too, where its samples carry gradients.
    """

    def __init__(
        self, manifold: Any, generator: Any, device: str, tune_generator: bool = True
    ) -> None:
        self.manifold, self.generator, self.device = manifold, generator, device
        self.classes = getattr(generator, "classes_", None)
        self._trains = tune_generator and isinstance(generator, BaseGenerator)
        self.trained, self.averaged = self._copies(), self._copies()

    def _copies(self) -> tuple[BaseManifold, Any]:
        manifold = copy.copy(self.manifold)
        manifold.device_ = self.device
        decoder = copy.deepcopy(manifold.decoder_).to(self.device)
        manifold.decoder_ = decoder.requires_grad_(True)
        generator = self.generator
        return manifold, generator._to_train(self.device) if self._trains else generator

    def result(self) -> tuple[BaseManifold, Any]:
        """Return the pair of averages, on the devices of the fitted ones."""
        manifold, generator = self.averaged
        manifold.device_ = self.manifold.device_
        manifold.decoder_.to(manifold.device_)
        if self._trains:
            name = generator._networks[0]
            network = getattr(generator, name).float()
            setattr(generator, name, network.to(generator.device_))
        return manifold, generator

    def tensors(
        self,
        rows: NDArray[Any],
        Z: NDArray[Any],
        y: NDArray[Any] | None,
        rng: np.random.RandomState,
    ) -> list[Tensor]:
        """Return rows, their latents, labels where conditional, draws where needed."""
        parts, codes = [self._to_units(Z)], None
        if self.classes is not None and y is not None:
            codes = np.searchsorted(self.classes, y)
            parts.append(np.eye(len(self.classes), dtype=np.float32)[codes])
        if not self._trains:
            parts.append(self._pool(len(rows), codes, rng))
        tensors = [torch.from_numpy(part).to(self.device) for part in parts]
        return [self.trained[0]._on_device(rows), *tensors]

    def _pool(
        self, n_rows: int, codes: NDArray[np.int64] | None, rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        """Return draws of the generator beside each other, `_POOL` for each row."""
        y = None
        if codes is not None and self.classes is not None:
            y = np.repeat(self.classes[codes], _POOL)
        Z = draw_rows(self.generator, _POOL * n_rows, y, rng, "generator")
        return self._to_units(np.asarray(Z)).reshape(n_rows, -1)

    def _to_units(self, Z: NDArray[Any]) -> NDArray[np.float32]:
        generator = self.generator
        if not isinstance(generator, BaseGenerator):
            return np.asarray(Z, dtype=np.float32)
        units = standardize(Z, generator.mean_, generator.scale_)
        return np.ascontiguousarray(units[:, generator._modelled])

    def _to_decoder(self) -> tuple[Tensor, Tensor]:
        """Return matrix and offset from these units to what the decoder takes.

        The way is affine, so where it takes 0 and the unit vectors says all.
        """
        generator, n = self.generator, self.manifold.n_components_
        latents = np.vstack([np.zeros(n), np.eye(n)])
        if isinstance(generator, BaseGenerator):
            columns = generator._modelled
            units = np.zeros((len(columns) + 1, n))
            units[1:, columns] = np.eye(len(columns))
            latents = unstandardize(units, generator.mean_, generator.scale_)
        ends = np.asarray(self.manifold._to_decoder(latents), dtype=np.float64)
        return self._tensor(ends[1:] - ends[0]), self._tensor(ends[0])

    def program(
        self,
        mean: NDArray[np.float64],
        scale: NDArray[np.float64],
        rng: np.random.RandomState,
        *,
        critic_sizes: Sequence[int],
        learning_rate: float,
        critic_learning_rate: float,
        generator_weight: float,
        **options: Any,
    ) -> JointProgram:
        """Return what trains the copies on rows of these moments.

        `options` are those of `JointProgram`.
        """
        way, average = self.way(*self.trained), self.way(*self.averaged)
        manifold, generator = self.trained
        n_seen = len(mean) + (0 if self.classes is None else len(self.classes))
        critic = Critic(n_seen, critic_sizes, torch_generator(draw_seed(rng)))
        critic.to(self.device)
        rates = {"decoder": learning_rate, "critic": critic_learning_rate}
        modules = {"decoder": way.decoder, "critic": critic}
        if way.network is not None:
            rates["generator"], modules["generator"] = learning_rate, way.network
        return JointProgram(
            way,
            average,
            critic,
            {
                name: make_optimizer("adam", m.parameters(), rates[name], betas=_BETAS)
                for name, m in modules.items()
            },
            loss=manifold._loss_function(),
            own_loss=generator._loss_of if self._trains and generator_weight else None,
            noise_for=generator._noise_for if self._trains else None,
            prepare=manifold._units_on_device() if manifold._is_uint8 else None,
            to_critic=self._to_critic(mean, scale),
            conditional=self.classes is not None,
            probe_seed=draw_seed(rng),
            generator_weight=generator_weight,
            foreign=manifold._is_foreign,
            **options,
        )

    def way(self, manifold: Any, generator: Any) -> Way:
        """Return the way from noise, or draws, to rows by networks of one pair."""
        network, draw = None, None
        if self._trains:
            network = getattr(generator, generator._networks[0])
            draw = generator._draw_units
        squash = torch.sigmoid if manifold._trained_as[0] == "bce" else _as_is
        return Way(manifold.decoder_, self._to_decoder(), squash, network, draw)

    def _to_critic(
        self, mean: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> tuple[Tensor, Tensor]:
        """Return mean and spread of the rows in units of the manifold."""
        shift, unit = self.manifold.shift_, self.manifold.scale_
        spread = float(np.sqrt(np.square(scale / unit).mean())) or 1.0
        return self._tensor((mean - shift) / unit), self._tensor(spread)

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)


def _as_is(rows: Tensor) -> Tensor:
    return rows
