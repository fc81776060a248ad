"""The generator that follows a learned flow from noise to rows."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._random import draw_seed, torch_generator
from .._validation import check_choice, check_int, check_real
from ..constraints import MahalanobisConstraint
from ..nn import SOLVERS, VelocityField, follow, log_density, map_rows
from ..training import Checkpoint, Outcome, make_optimizer
from ._base import BaseGenerator
from ._density import LogDensityMixin
from ._flow_program import FlowMatchingProgram, flow_matching_loss

_STEPS = (1000, 8000)
_STEPS_PER_ROW = 4
_MOST_COLUMNS = 64
_DENSITY_STEPS = 24


class LatentFlowMatching(LogDensityMixin, BaseGenerator):
    r"""Generate rows like those of `fit` by a flow from noise to them.

    A network learns the velocity v of straight ways from noise x_0 to rows x_1 [1]_
    [2]_, on standardised columns,

    .. math:: \mathrm{E}\, s(t)^2 \, | v(x_t, t) - (x_1 - x_0) |^2, \quad
              x_t = t x_1 + (1 - t) x_0, \quad s(t)^2 = t^2 + (1 - t)^2

    and `sample` follows it from noise at t = 0 to rows at t = 1. A plain regression: no
    adversary, nothing that collapses, and held-out rows tell when to stop. The density
    of the rows follows from the exact divergence on the way, which is followed back in
    24 steps of Runge and Kutta: to about .01 nats a row.

    Parameters
    ----------
    hidden_sizes : tuple of int, default=(256, 256, 256)
        Widths inside the residual blocks of the network; the first is also that of
        the rows between them.
    conditional : bool, default=False
        Learn p(x | y) of the discrete labels given to `fit`, two rows a class at
        least; a tenth of the rows is learned without a label, so p(x) comes with it.
    guidance : float, default=1.0
        How strongly `sample` follows the label, g in ``v(x) + g (v(x | y) - v(x))``
        [3]_: 1 is p(x | y), more is more typical of the class and less diverse, 0 does
        not look at it. Where conditional; takes effect without fitting again.
    solver : {"heun", "euler"}, default="heun"
        How `sample` follows the flow; a step of Heun costs two of Euler.
    n_steps : int, default=15
        Steps of `sample`, at least 1. After reflow, 4 of Euler do. Both take effect
        without fitting again.
    reflow_epochs : int, default=0
        Epochs in which the flow is straightened [1]_: pairs of noise and the row that
        the flow takes it to, as many as there are rows, are learned as straight ways,
        so that few steps follow them. The `n_steps` and `solver` of `fit` make the
        pairs.
    average_decay : float, default=0.999
        Weight of the past in the running average of the network that is sampled from,
        in [0, 1).
    constraint : MahalanobisConstraint, default=None
        Distance from the training rows that samples are held to. The network is then
        the one of the lowest loss among those whose samples keep it, and where none
        does the one that comes nearest. It holds for the `n_steps` and the `solver` of
        `fit`. Samples are drawn in before the flow has learned, and stay nearer the
        mean than they need: of latents of MNIST 1.8 % were beyond where 5 % might be.
    learning_rate : float, default=1e-3
        Step size of Adam.
    schedule : str, default="cosine"
        Course of the learning rate over `max_epochs`: "constant", "cosine", "linear",
        "one_cycle", or "plateau", which halves it where the loss no longer falls.
    batch_size : int, default=256
        Rows in a step; fewer where there are fewer.
    max_epochs : int or None, default=None
        Passes through the data, at most. None is as many as make 4 steps for each row,
        but 1,000 steps at least and 8,000 at most, and 20 epochs at least.
    validation_fraction : float, default=0.1
        Share of the rows that are held out to choose the epoch, in [0, 1). 0, or fewer
        than 2 rows, keeps the last one.
    patience : int or None, default=None
        Epochs without a lower loss on held-out rows after which training stops.
    tol : float, default=1e-4
        Share by which that loss has to fall to count as lower.
    warm_start : bool, default=False
        Start `fit` from the fitted weights where there are any of the same shapes.
    max_time : float, default=None
        Seconds after which training, that of reflow included, stops.
    precision : {"float32", "bf16"}, default="float32"
        "bf16" trains with half of the digits, twice as fast on some processors, and
        not to the same bits everywhere. Samples and densities are float32 and float64.
    device : str, default="auto"
        "auto" is CUDA, then MPS, then the CPU.
    checkpoint : str or path-like, default=None
        Folder for a file from which the same fit, killed, resumes with the same
        result; reflow starts again. With ``random_state=None`` the seed then follows
        from the data.
    callbacks : sequence of callable, default=None
        Each is called after an epoch with a dict of its figures; a true answer stops
        training.
    verbose : bool or int, default=False
        Show a progress bar.
    random_state : int, RandomState or None, default=None
        Seed of weights, split, batches, times and noise in training.

    Attributes
    ----------
    field_ : torch.nn.Module
        The averaged network that held-out rows chose, on `device_`.
    history_ : History
        Mean `loss` and `validation_loss` of each epoch, the squared error in units of
        what the best linear field leaves, 1 for standard normal rows, with the
        standard error `validation_loss_error`, and `seconds` since the start. Epochs
        of reflow follow, without validation. With a constraint also `violation`, the
        share of rows made in training that are beyond epsilon, `multiplier` and
        `constraint`, what it weighs; `validation_violation`, the share of samples,
        `validation_reach`, the distance that all but the tolerated share are within,
        and `validation_infeasibility`, by what share of epsilon that is too far.
    n_epochs_, best_epoch_ : int
        Epochs run, those of reflow included, and the one whose network was kept, from
        1.
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
        Where the network is.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows, ``conditional``
        without labels or with a class of one row. By `sample`: labels asked of an
        unconditional model, or labels that `fit` did not see. By `score_samples` and
        `score`: more than 64 columns, whose divergence would take as many passes.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] X. Liu, C. Gong, Q. Liu, "Flow straight and fast: learning to generate and
       transfer data with rectified flow", ICLR 2023, arXiv:2209.03003, Eq. (1) and
       section 2.2.
    .. [2] P. Esser et al., "Scaling rectified flow transformers for high-resolution
       image synthesis", ICML 2024, arXiv:2403.03206, section 3.1: logit-normal times.
       We differ in the unit of the error, see `manifoldgen.nn.VelocityField`.
    .. [3] J. Ho, T. Salimans, "Classifier-free diffusion guidance", 2022,
       arXiv:2207.12598, Eq. (6) with w = g - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import LatentFlowMatching
    >>> X = np.random.RandomState(0).standard_normal((500, 2)) * [1.0, 5.0]
    >>> flow = LatentFlowMatching(max_epochs=20, random_state=0).fit(X)
    >>> flow.sample(3, random_state=0).shape
    (3, 2)
    >>> flow.score_samples(X[:2]).dtype
    dtype('float64')
    """

    _networks = ("field_",)
    field_: VelocityField

    def __init__(
        self,
        *,
        hidden_sizes: Sequence[int] = (256, 256, 256),
        conditional: bool = False,
        guidance: float = 1.0,
        solver: Literal["heun", "euler"] = "heun",
        n_steps: int = 15,
        reflow_epochs: int = 0,
        average_decay: float = 0.999,
        constraint: MahalanobisConstraint | None = None,
        learning_rate: float = 1e-3,
        schedule: str = "cosine",
        batch_size: int = 256,
        max_epochs: int | None = None,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        max_time: float | None = None,
        precision: Literal["float32", "bf16"] = "float32",
        device: str = "auto",
        checkpoint: Any = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.hidden_sizes = hidden_sizes
        self.conditional = conditional
        self.guidance = guidance
        self.solver = solver
        self.n_steps = n_steps
        self.reflow_epochs = reflow_epochs
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not len(self.hidden_sizes):
            raise ValueError("hidden_sizes must have one size at least, got ().")
        check_int("reflow_epochs", self.reflow_epochs, 0)
        check_real("average_decay", self.average_decay, 0.0, 1.0, closed="left")
        check_choice("precision", self.precision, ("float32", "bf16"))
        self._check_sampling()

    def _check_sampling(self) -> None:
        check_int("n_steps", self.n_steps)
        check_choice("solver", self.solver, SOLVERS)
        check_real("guidance", self.guidance, 0.0)

    def _default_steps(self, n_rows: int) -> int:
        return min(max(_STEPS_PER_ROW * n_rows, _STEPS[0]), _STEPS[1])

    def _build_networks(self, seed: int) -> dict[str, torch.nn.Module]:
        field = VelocityField(
            len(self._modelled),
            self._n_classes,
            self.hidden_sizes,
            torch_generator(seed),
        )
        return {"field_": field}

    def _program(
        self, networks: dict[str, Any], n_held: int, rng: np.random.RandomState
    ) -> FlowMatchingProgram:
        seed = draw_seed(rng)
        noise = None
        if self.constraint is not None:
            shape = self._n_constraint_rows(n_held), len(self._modelled)
            noise = torch.tensor(
                rng.standard_normal(shape), dtype=torch.float32, device=self.device_
            )
        return self._new_program(networks["field_"], seed, noise=noise)

    def _n_constraint_rows(self, n_held: int) -> int:
        """Return as many as are cheap to draw after each epoch."""
        return min(max(n_held, 256), 1024)

    def _new_program(
        self,
        field: VelocityField,
        seed: int,
        paired: bool = False,
        noise: Tensor | None = None,
    ) -> FlowMatchingProgram:
        return FlowMatchingProgram(
            field,
            copy.deepcopy(field),
            make_optimizer("adam", field.parameters(), self.learning_rate),
            average_decay=self.average_decay,
            probe_seed=seed,
            half=self.precision == "bf16",
            paired=paired,
            # pairs of a flow that keeps it are straightened as they are
            constraint=None if paired else self._held(self._to_data()),
            constraint_noise=noise,
            n_steps=self.n_steps,
            solver=self.solver,
        )

    def _train(
        self,
        program: FlowMatchingProgram,
        train: list[Tensor],
        validation: list[Tensor] | None,
        rng: np.random.RandomState,
        checkpoint: Checkpoint | None,
    ) -> Outcome:
        outcome = super()._train(program, train, validation, rng, checkpoint)
        self.field_ = program.average
        if self.reflow_epochs and outcome.stopped_by not in ("interrupt", "callback"):
            self._reflow(outcome, train, rng)
        return outcome

    def _reflow(
        self, outcome: Outcome, train: list[Tensor], rng: np.random.RandomState
    ) -> None:
        """Learn the ways of the flow again as straight ones, and add to `outcome`."""
        rows, *labels = train
        noise = rng.standard_normal(rows.shape).astype(np.float32)
        codes = labels[0].argmax(1).cpu().numpy() if labels else None
        ends = self._follow_all(noise, codes, guidance=1.0)
        pairs = [torch.from_numpy(part).to(self.device_) for part in (ends, noise)]
        pairs[1:1] = labels
        field = copy.deepcopy(self.field_).requires_grad_(True).train()
        program = self._new_program(field, draw_seed(rng), paired=True)
        rows_before = outcome.history.rows
        spent = rows_before[-1]["seconds"] if rows_before else 0.0
        again = self._run(
            program, pairs, None, rng, None, self.reflow_epochs, spent=spent
        )
        self.field_ = program.average
        for row in again.history.rows:
            row["epoch"] += len(rows_before)
            row["seconds"] += spent
        outcome.best_epoch = len(rows_before) + again.best_epoch
        outcome.history.rows += again.history.rows
        outcome.interrupt = again.interrupt

    def _sample_units(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float32]:
        self._check_sampling()
        noise = rng.standard_normal((n_samples, len(self._modelled)))
        return self._follow_all(noise.astype(np.float32), codes, self.guidance)

    def _follow_all(
        self,
        noise: NDArray[np.float32],
        codes: NDArray[np.int64] | None,
        guidance: float,
    ) -> NDArray[np.float32]:
        """Return where rows of noise are taken, with labels at `codes` if any."""
        width = noise.shape[1]
        inputs = noise if codes is None else np.hstack([noise, self._one_hot(codes)])

        def follow_block(block: Tensor) -> Tensor:
            x, label = block[:, :width], block[:, width:]
            return self._follow(x, label, guidance)

        return map_rows(follow_block, inputs, self.device_)

    def _draw_units(self, noise: Tensor, labels: list[Tensor]) -> Tensor:
        label = labels[0] if labels else noise[:, :0]
        return self._follow(noise, label, self.guidance)

    def _follow(self, noise: Tensor, label: Tensor, guidance: float) -> Tensor:
        velocity = self._velocity(label, guidance)
        return follow(velocity, noise, self.n_steps, self.solver)

    def _loss_of(
        self, units: Tensor, labels: list[Tensor], generator: torch.Generator
    ) -> Tensor:
        noise = torch.empty_like(units).normal_(generator=generator)
        return flow_matching_loss(self.field_, units, noise, labels, generator)

    def _velocity(
        self, label: Tensor, guidance: float
    ) -> Callable[[Tensor, Tensor], Tensor]:
        field, nobody = self.field_, torch.zeros_like(label)
        if not label.shape[1] or guidance == 1.0:
            return lambda x, t: field(x, t, (label,))

        def guided(x: Tensor, t: Tensor) -> Tensor:
            anybody = field(x, t, (nobody,))
            return anybody + guidance * (field(x, t, (label,)) - anybody)

        return guided

    def _log_density(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        if units.shape[1] > _MOST_COLUMNS:
            raise ValueError(
                f"score_samples needs {_MOST_COLUMNS} columns that vary at most, got "
                f"{units.shape[1]}: the divergence takes a pass for each. Fit on "
                "latents, or compare samples with rows by GenerativePipeline.score."
            )
        field, n_classes = copy.deepcopy(self.field_).double(), self._n_classes
        extra = units.shape[1] % 2
        if extra:
            # rows of odd width have other last bits at odd places of a block; a column
            # that is standard normal, and 0 here, has a density that can be taken off
            field = field.widened()
            units = np.pad(units, ((0, 0), (0, 1)))

        def log_density_of(block: Tensor) -> Tensor:
            nobody = block.new_zeros(len(block), n_classes)
            nats = log_density(field, block, (nobody,), _DENSITY_STEPS)
            return nats.unsqueeze(1)

        nats = map_rows(log_density_of, units, self.device_)[:, 0]
        return nats + extra * 0.5 * np.log(2.0 * np.pi)
