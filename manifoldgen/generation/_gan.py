"""The adversarial generator of rows: its program for the engine, and the estimator."""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)
from torch import Tensor, nn

from .._random import torch_generator
from .._validation import check_choice, check_int, check_real
from ..exceptions import CollapseWarning
from ..metrics import energy_distance
from ..nn import MLP, Critic, map_rows
from ..nn.losses import energy_distance as energy_distance_of_tensors
from ..nn.losses import relativistic_loss
from ..training import Batch, Outcome, Program, RunningAverage, make_optimizer
from ._base import BaseGenerator

_PROBE_ROWS = 1024
_STEPS = (1000, 4000)
_STEPS_PER_ROW = 4


class GANProgram(Program):
    """Relativistic pairs with zero-centred gradient penalties on both sides.

    The critic D minimises ``E f(D(x) - D(G(z))) + gamma / 2 (R1 + R2)`` and the
    generator ``E f(D(G(z)) - D(x))`` with ``f(t) = log(1 + exp(-t))``; R1 and R2 are
    the mean squared input gradients of D at real and at generated rows.
    """

    def __init__(
        self,
        generator: nn.Module,
        average: nn.Module,
        critic: Critic,
        optimizers: dict[str, torch.optim.Optimizer],
        *,
        n_noise: int,
        gradient_penalty: float,
        average_decay: float,
        probe_noise: Tensor,
    ) -> None:
        super().__init__()
        self.generator, self.average, self.critic = generator, average, critic
        self.n_noise = n_noise
        self.gradient_penalty = gradient_penalty
        self.probe_noise = probe_noise
        self.modules = {"generator": generator, "average": average, "critic": critic}
        self.optimizers = optimizers
        self._parameters = list(generator.parameters())
        self._critic_parameters = list(critic.parameters())
        running = RunningAverage(generator, average, average_decay)
        self.averages = {"generator": running}

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one step of the critic and one of the generator on a batch."""
        x, *labels = batch
        n = len(x)
        noise = torch.empty(2 * n, self.n_noise, device=x.device)
        noise.normal_(generator=generator)
        critic_loss = self._step_critic(x, noise[:n], labels)
        generator_loss = self._step_generator(x, noise[n:], labels)
        self.averages["generator"].update()
        return {"loss": generator_loss, "critic_loss": critic_loss}

    def _step_critic(self, x: Tensor, noise: Tensor, labels: list[Tensor]) -> Tensor:
        with torch.no_grad():
            fake = self.generator(torch.cat([noise, *labels], 1))
            both = torch.cat(
                [torch.cat([x, *labels], 1), torch.cat([fake, *labels], 1)]
            )
        value, gradient = self.critic.value_and_input_gradient(both)
        # over as many real as generated rows, so this is R1 + R2
        penalty = gradient[:, : x.shape[1]].square().sum() / len(x)
        adversarial = relativistic_loss(value[: len(x)], value[len(x) :])
        loss = adversarial + 0.5 * self.gradient_penalty * penalty
        self._descend("critic", self._critic_parameters, loss)
        return adversarial.detach()

    def _step_generator(self, x: Tensor, noise: Tensor, labels: list[Tensor]) -> Tensor:
        fake = self.generator(torch.cat([noise, *labels], 1))
        with torch.no_grad():
            real_value = self.critic(torch.cat([x, *labels], 1))
        loss = relativistic_loss(self.critic(torch.cat([fake, *labels], 1)), real_value)
        self._descend("generator", self._parameters, loss)
        return loss.detach()

    def _descend(self, name: str, parameters: Sequence[Tensor], loss: Tensor) -> None:
        self.optimizers[name].zero_grad(set_to_none=False)
        loss.backward(inputs=parameters)
        self.optimizers[name].step()

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return the energy distance of held-out rows to samples, and its error."""
        x, *labels = (tensor[:_PROBE_ROWS] for tensor in rows)
        noise = self.probe_noise
        repeated = [label.repeat(-(-len(noise) // len(x)), 1) for label in labels]
        repeated = [label[: len(noise)] for label in repeated]
        with torch.no_grad():
            fake = self.average(torch.cat([noise, *repeated], 1))
            distance, error = energy_distance_of_tensors(
                torch.cat([x, *labels], 1), torch.cat([fake, *repeated], 1)
            )
        return {"loss": distance, "loss_error": error}


class LatentGAN(BaseGenerator):
    r"""Generate rows like those of `fit` with an adversarial pair of networks.

    A generator G turns noise into rows, a critic D tells pairs of real and generated
    rows apart, and both learn against each other on standardised columns [1]_:

    .. math:: L_D = \mathrm{E} f(D(x) - D(G(z))) + \tfrac{\gamma}{2}(R_1 + R_2),
              \quad L_G = \mathrm{E} f(D(G(z)) - D(x)), \quad f(t) = \log(1 + e^{-t})

    Neither loss says how good the samples are. The energy distance between held-out
    rows and samples does: it is measured after each epoch, training keeps the last
    generator within one standard error of the lowest, and one that is worse than a
    Gaussian is reported as collapsed. "Latent" is where it shines, last in a Pipeline
    after a manifold; any numeric rows will do. For a few hundred rows and a density to
    look at, `sklearn.mixture.GaussianMixture` is faster.

    Parameters
    ----------
    n_noise : int, default=None
        Width of the noise z; None is the number of features, at least 8.
    hidden_sizes : tuple of int, default=(128, 128)
        Widths of the hidden layers of both networks.
    conditional : bool, default=False
        Learn p(x | y) of the discrete labels given to `fit`, two rows a class at
        least.
    gradient_penalty : float, default=0.5
        Weight gamma of R1 and R2, for standardised columns.
    average_decay : float, default=0.999
        Weight of the past in the running average of the generator that is sampled
        from, in [0, 1).
    learning_rate : float, default=4e-3
        Step size of Adam for both networks.
    schedule : {"constant", "cosine", "linear", "one_cycle"}, default="cosine"
        Course of the learning rate over `max_epochs`.
    batch_size : int, default=64
        Rows in a step; fewer where there are fewer.
    max_epochs : int or None, default=None
        Passes through the data, at most. None is as many as make 4 steps for each row,
        but 1,000 steps at least and 4,000 at most, and 20 epochs at least.
    validation_fraction : float, default=0.1
        Share of the rows that are held out for the probe, in [0, 1). 0, or fewer than
        2 rows, keeps the last generator.
    patience : int or None, default=None
        Epochs without a better probe after which training stops.
    tol : float, default=1e-4
        Share by which the probe has to fall to count as better.
    warm_start : bool, default=False
        Start `fit` from the fitted weights where there are any of the same shapes.
    max_time : float, default=None
        Seconds after which training stops.
    precision : {"float32"}, default="float32"
        Penalties on gradients need it.
    device : str, default="auto"
        "auto" is CUDA, then MPS, then the CPU.
    checkpoint : str or path-like, default=None
        Folder for a file from which the same fit, killed, resumes with the same
        result. With ``random_state=None`` the seed then follows from the data.
    callbacks : sequence of callable, default=None
        Each is called after an epoch with a dict of its figures; a true answer stops
        training.
    verbose : bool or int, default=False
        Show a progress bar.
    random_state : int, RandomState or None, default=None
        Seed of weights, split, batches and noise in training.

    Attributes
    ----------
    generator_ : torch.nn.Module
        The averaged generator that the probe chose, on `device_`.
    critic_ : torch.nn.Module
        The critic of the same epoch.
    history_ : History
        Mean `loss` (of the generator) and `critic_loss`, in nats a pair,
        `validation_loss` (energy distance on standardised columns) with its standard
        error `validation_loss_error` of each epoch, and `seconds` since the start.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose generator was kept, from 1.
    classes_ : ndarray of shape (n_classes,)
        Labels, where conditional.
    class_prior_ : ndarray of shape (n_classes,), float64
        Share of each label in training, where conditional.
    mean_, scale_ : ndarray of shape (n_features,), float64
        Mean and standard deviation of the columns; constant columns have scale 0 and
        are sampled as the constant.
    device_ : str
        Where the networks are.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows, ``conditional``
        without labels or with a class of one row. By `sample`: labels asked of an
        unconditional model, or labels that `fit` did not see.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] N. Huang, A. Gokaslan, V. Kuleshov, J. Tompkin, "The GAN is dead; long live
       the GAN! A modern GAN baseline", NeurIPS 2024, arXiv:2501.05441, Eqs. (2)-(4).
       We differ in the networks, perceptrons for rows; in a constant gamma; in the
       kept generator, chosen by the probe; and in pairs that share a class where
       conditional.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import LatentGAN
    >>> X = np.random.RandomState(0).standard_normal((500, 2)) * [1.0, 5.0]
    >>> gan = LatentGAN(max_epochs=20, random_state=0).fit(X)
    >>> gan.sample(3, random_state=0).shape
    (3, 2)
    """

    _networks = ("generator_", "critic_")
    generator_: nn.Module
    critic_: nn.Module

    def __init__(
        self,
        *,
        n_noise: int | None = None,
        hidden_sizes: Sequence[int] = (128, 128),
        conditional: bool = False,
        gradient_penalty: float = 0.5,
        average_decay: float = 0.999,
        learning_rate: float = 4e-3,
        schedule: str = "cosine",
        batch_size: int = 64,
        max_epochs: int | None = None,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        max_time: float | None = None,
        precision: Literal["float32"] = "float32",
        device: str = "auto",
        checkpoint: Any = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.n_noise = n_noise
        self.hidden_sizes = hidden_sizes
        self.conditional = conditional
        self.gradient_penalty = gradient_penalty
        self.average_decay = average_decay
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.warm_start = warm_start
        self.max_time = max_time
        self.precision = precision
        self.device = device
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the energy distance between `X` and as many samples.

        Columns are scaled by their standard deviation in training; the samples come
        from a fixed seed. Higher is better, and about 0 is perfect.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Labels of the samples where `conditional`; None draws them by frequency.

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        labels = None
        if hasattr(self, "classes_") and y is not None:
            labels = column_or_1d(y, warn=True)
            check_consistent_length(rows, labels)
        drawn = self._sample(len(rows), labels, np.random.RandomState(0))
        spread = np.where(self.scale_ == 0, 1.0, self.scale_)
        return -float(energy_distance(rows / spread, drawn / spread))

    def _sample_units(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float32]:
        inputs = rng.standard_normal((n_samples, self._n_noise)).astype(np.float32)
        if codes is not None:
            inputs = np.hstack([inputs, self._one_hot(codes)])
        return map_rows(self.generator_, inputs, self.device_)

    def _check_parameters(self) -> None:
        if self.n_noise is not None:
            check_int("n_noise", self.n_noise)
        check_real("gradient_penalty", self.gradient_penalty, 0.0)
        check_real("average_decay", self.average_decay, 0.0, 1.0, closed="left")
        check_choice("precision", self.precision, ("float32",))
        super()._check_parameters()

    def _default_steps(self, n_rows: int) -> int:
        return min(max(_STEPS_PER_ROW * n_rows, _STEPS[0]), _STEPS[1])

    def _noise_width(self) -> int:
        return max(8, self.n_features_in_) if self.n_noise is None else self.n_noise

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        n_classes = self._n_classes
        n_in, n_rows = self._noise_width() + n_classes, self.n_features_in_
        source = torch_generator(seed)
        sizes = (n_in, *self.hidden_sizes, n_rows)
        return {
            "generator_": MLP(sizes, "leaky_relu", generator=source),
            "critic_": Critic(n_rows + n_classes, self.hidden_sizes, source),
        }

    def _program(
        self, networks: dict[str, Any], n_held: int, rng: np.random.RandomState
    ) -> GANProgram:
        generator, critic = networks["generator_"], networks["critic_"]
        noise = rng.standard_normal(
            (min(max(4 * n_held, 512), 2048), self._noise_width())
        )
        optimizers = {
            name: make_optimizer(
                "adam", module.parameters(), self.learning_rate, betas=(0.0, 0.99)
            )
            for name, module in (("generator", generator), ("critic", critic))
        }
        return GANProgram(
            generator,
            copy.deepcopy(generator),
            critic,
            optimizers,
            n_noise=self._noise_width(),
            gradient_penalty=self.gradient_penalty,
            average_decay=self.average_decay,
            probe_noise=torch.tensor(noise, dtype=torch.float32, device=self.device_),
        )

    def _finish(
        self, program: GANProgram, outcome: Outcome, validation: list[Tensor] | None
    ) -> None:
        self.generator_, self.critic_ = program.average, program.critic
        self._n_noise = self._noise_width()
        if validation is not None and outcome.history.rows:
            self._warn_of_collapse(outcome.history["validation_loss"], validation)

    def _warn_of_collapse(
        self, probe: NDArray[np.float64], validation: list[Tensor]
    ) -> None:
        """Compare the best probe with that of one Gaussian, moments as in training."""
        x, *labels = (tensor[:_PROBE_ROWS] for tensor in validation)
        gaussian = torch.empty(_PROBE_ROWS, x.shape[1], device=x.device)
        gaussian.normal_(generator=torch_generator(0, self.device_))
        cycle = torch.arange(_PROBE_ROWS, device=x.device) % len(x)
        bound = float(
            energy_distance_of_tensors(
                torch.cat([x, *labels], 1),
                torch.cat([gaussian, *(label[cycle] for label in labels)], 1),
            )[0]
        )
        if np.nanmin(probe) > max(bound, 0.0) + 0.1:
            warnings.warn(
                f"The generator collapsed: its best energy distance to held-out rows "
                f"is {np.nanmin(probe):.3g}, that of independent Gaussian columns is "
                f"{bound:.3g}. Raise max_epochs or gradient_penalty, or lower "
                "learning_rate.",
                CollapseWarning,
                stacklevel=4,
            )
