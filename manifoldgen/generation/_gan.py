"""The adversarial generator of rows."""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf, erfinv
from torch import Tensor, nn

from .._random import draw_seed, torch_generator
from .._validation import check_choice, check_int, check_real
from ..constraints import MahalanobisConstraint
from ..exceptions import CollapseWarning
from ..nn import MLP, Critic, map_rows
from ..nn.losses import energy_distance as energy_distance_of_tensors
from ..training import Outcome, make_optimizer
from ._base import BaseGenerator
from ._energy import EnergyScoreMixin
from ._gan_program import PROBE_ROWS, GANProgram, HingeProgram, RelativisticProgram

_LOSSES = ("relativistic", "hinge")
_STEPS = (1000, 4000)
_STEPS_PER_ROW = 4


class LatentGAN(EnergyScoreMixin, BaseGenerator):
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
    loss : {"relativistic", "hinge"}, default="relativistic"
        The game: "relativistic" is that above, "hinge" is

        .. math:: L_D = \mathrm{E} \max(0, 1 - D(x)) + \mathrm{E} \max(0, 1 + D(G(z))),
                  \quad L_G = -\mathrm{E} D(G(z))

        with a critic whose layers are divided by their largest singular values [2]_.
    gradient_penalty : float, default=0.5
        Weight gamma of R1 and R2, for standardised columns. Of no effect in the hinge
        game, where spectral normalisation takes its place.
    truncation : float, default=None
        Draw the noise of `sample` from normals that end at so many standard
        deviations, > 0 [3]_: samples near the middle of what was learned, truer one by
        one and less various together. About 2 leaves nearly all of the variety, 0.5
        little. None draws from whole normals. `fit` does not look at it, so it may be
        set afterwards.
    average_decay : float, default=0.999
        Weight of the past in the running average of the generator that is sampled
        from, in [0, 1).
    constraint : MahalanobisConstraint, default=None
        Distance from the training rows that generated ones are held to. The generator
        is then the one of the lowest probe among those that keep it, and where none
        does the one that comes nearest.
    learning_rate : float, default=4e-3
        Step size of Adam for both networks.
    schedule : str, default="cosine"
        Course of the learning rate over `max_epochs`: "constant", "cosine", "linear",
        "one_cycle", or "plateau", which halves it where the loss no longer falls.
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
        The critic of the same epoch; after the hinge game the largest singular value
        of each of its weights is 1.
    history_ : History
        Mean `loss` (of the generator) and `critic_loss`, in nats a pair or, in the
        hinge game, in units of the critic; `validation_loss` (energy distance on
        standardised columns) with its standard error `validation_loss_error` of each
        epoch, and `seconds` since the start. With a constraint also `violation`, the
        share of generated rows beyond epsilon, `multiplier` and `constraint`, what it
        weighs; `validation_violation`, the share of samples, `validation_reach`, the
        distance that all but the tolerated share are within, and
        `validation_infeasibility`, by what share of epsilon that is too far.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose generator was kept, from 1.
    classes_ : ndarray of shape (n_classes,)
        Labels, where conditional.
    class_prior_ : ndarray of shape (n_classes,), float64
        Share of each label in training, where conditional.
    mean_, scale_ : ndarray of shape (n_features,), float64
        Mean and standard deviation of the columns; constant columns have scale 0 and
        are sampled as the constant.
    constraint_ : MahalanobisConstraint
        Fitted on the training rows, where there is one.
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

    Truer samples, and fewer kinds of them, from the same fit:

    >>> narrow = gan.set_params(truncation=0.5).sample(1000, random_state=0)
    >>> bool((narrow.std(0) < 0.8 * X.std(0)).all())
    True
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
        loss: Literal["relativistic", "hinge"] = "relativistic",
        gradient_penalty: float = 0.5,
        truncation: float | None = None,
        average_decay: float = 0.999,
        constraint: MahalanobisConstraint | None = None,
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
        self.loss = loss
        self.gradient_penalty = gradient_penalty
        self.truncation = truncation
        self.average_decay = average_decay
        self.constraint = constraint
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

    def _sample_units(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float32]:
        self._check_truncation()
        inputs = truncated_normal((n_samples, self._n_noise), self.truncation, rng)
        if codes is not None:
            inputs = np.hstack([inputs, self._one_hot(codes)])
        return map_rows(lambda block: self._draw_units(block, []), inputs, self.device_)

    def _draw_units(self, noise: Tensor, labels: list[Tensor]) -> Tensor:
        units: Tensor = self.generator_(torch.cat([noise, *labels], 1))
        return units

    def _check_truncation(self) -> None:
        if self.truncation is not None:
            check_real("truncation", self.truncation, 0.0, closed="neither")

    def _check_parameters(self) -> None:
        if self.n_noise is not None:
            check_int("n_noise", self.n_noise)
        check_choice("loss", self.loss, _LOSSES)
        check_real("gradient_penalty", self.gradient_penalty, 0.0)
        self._check_truncation()
        check_real("average_decay", self.average_decay, 0.0, 1.0, closed="left")
        check_choice("precision", self.precision, ("float32",))
        super()._check_parameters()

    def _default_steps(self, n_rows: int) -> int:
        return min(max(_STEPS_PER_ROW * n_rows, _STEPS[0]), _STEPS[1])

    def _noise_width(self) -> int:
        return max(8, self.n_features_in_) if self.n_noise is None else self.n_noise

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        n_classes = self._n_classes
        n_in, width = self._noise_width() + n_classes, len(self._modelled)
        source = torch_generator(seed)
        sizes = (n_in, *self.hidden_sizes, width)
        return {
            "generator_": MLP(sizes, "leaky_relu", generator=source),
            "critic_": Critic(width + n_classes, self.hidden_sizes, source),
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
        parts = generator, copy.deepcopy(generator), critic, optimizers
        options: dict[str, Any] = {
            "n_noise": self._noise_width(),
            "average_decay": self.average_decay,
            "probe_noise": torch.tensor(
                noise, dtype=torch.float32, device=self.device_
            ),
        }
        if self.constraint is not None:
            shape = self._n_constraint_rows(n_held), self._noise_width()
            options["constraint"] = self._held(self._to_data())
            options["constraint_noise"] = torch.tensor(
                rng.standard_normal(shape), dtype=torch.float32, device=self.device_
            )
        if self.loss == "hinge":
            start = torch_generator(draw_seed(rng))
            return HingeProgram(*parts, start=start, **options)
        return RelativisticProgram(
            *parts, gradient_penalty=self.gradient_penalty, **options
        )

    def _finish(
        self, program: GANProgram, outcome: Outcome, validation: list[Tensor] | None
    ) -> None:
        self.generator_, self.critic_ = program.average, program.final_critic()
        self._n_noise = self._noise_width()
        if validation is not None and outcome.history.rows:
            self._warn_of_collapse(outcome.history["validation_loss"], validation)

    def _warn_of_collapse(
        self, probe: NDArray[np.float64], validation: list[Tensor]
    ) -> None:
        """Compare the best probe with that of one Gaussian, moments as in training."""
        x, *labels = (tensor[:PROBE_ROWS] for tensor in validation)
        gaussian = torch.empty(PROBE_ROWS, x.shape[1], device=x.device)
        gaussian.normal_(generator=torch_generator(0, self.device_))
        cycle = torch.arange(PROBE_ROWS, device=x.device) % len(x)
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
                f"{bound:.3g}. Raise max_epochs or, in the relativistic game, "
                "gradient_penalty, or lower learning_rate.",
                CollapseWarning,
                stacklevel=4,
            )


def truncated_normal(
    shape: tuple[int, ...], truncation: float | None, rng: np.random.RandomState
) -> NDArray[np.float32]:
    """Return normal noise, within `truncation` standard deviations where given.

    One uniform is drawn for each truncated entry, whatever it is.
    """
    if truncation is None:
        return rng.standard_normal(shape).astype(np.float32)
    share = erf(truncation / np.sqrt(2.0))
    noise = np.sqrt(2.0) * erfinv(share * rng.uniform(-1.0, 1.0, shape))
    return np.clip(noise, -truncation, truncation).astype(np.float32)
