"""The normalizing flow as a generator: exact densities, sampled in one pass."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._arrays import standardize
from .._random import draw_seed, isolated_streams
from .._validation import check_choice, check_int, check_real
from ..nn import SplineFlow, even_linear, map_rows
from ..training import (
    Batch,
    Checkpoint,
    Outcome,
    Program,
    RunningAverage,
    make_optimizer,
)
from ._base import BaseGenerator
from ._density import LogDensityMixin
from ._expectation_maximization import (
    chosen_components,
    drawn_rows,
    fit_mixture,
    precision_root,
)
from ._whitening import whitening_axes

_STEPS = (300, 5000)
_STEPS_PER_ROW = 0.25
_BLOCK_ROWS = 4096
_LARGEST_SLOPE = 5.0
_MOST_GAUSSIANS = 64


class NormalizingFlowProgram(Program):
    """Maximum likelihood: a step climbs the mean log-density of a batch.

    Long gradients, which single far rows give, are cut to a length. A running average
    of the flow is what held-out rows judge.
    """

    def __init__(
        self,
        flow: SplineFlow,
        average: SplineFlow,
        optimizer: torch.optim.Optimizer,
        average_decay: float,
    ) -> None:
        super().__init__()
        self.flow, self.average = flow, average
        self.modules = {"flow": flow, "average": average}
        self.optimizers = {"flow": optimizer}
        self.averages = {"flow": RunningAverage(flow, average, average_decay)}

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one step on a batch of rows and, where conditional, labels."""
        loss = -self._nats(self.flow, batch).mean()
        self.optimizers["flow"].zero_grad(set_to_none=False)
        loss.backward()
        nn.utils.clip_grad_norm_(self.flow.parameters(), _LARGEST_SLOPE)
        self.optimizers["flow"].step()
        self.averages["flow"].update()
        return {"loss": loss.detach()}

    def validate(self, rows: Batch) -> dict[str, Tensor]:
        """Return minus the mean log-density of the rows under the averaged flow."""
        with torch.no_grad():
            parts = zip(*(tensor.split(_BLOCK_ROWS) for tensor in rows), strict=True)
            nats = torch.cat([self._nats(self.average, part) for part in parts])
        return {"loss": -nats.mean()}

    @staticmethod
    def _nats(flow: SplineFlow, batch: Batch) -> Tensor:
        x, *labels = batch
        return flow.log_density(x, labels[0] if labels else x[:, :0])


class LatentNormalizingFlow(LogDensityMixin, BaseGenerator):
    r"""Generate rows like those of `fit` by an invertible network of splines.

    A flow f takes rows to noise, by splines that bend each half of the columns as the
    other half tells [1]_, and is trained for the likelihood of the rows,

    .. math:: \log p(x) = \log q(f(x))
              + \log \left| \det \frac{\partial f}{\partial x} \right|

    on principal axes scaled to variance 1. `sample` takes noise back through it, in one
    pass. A flow may only bend and never tear, so from one Gaussian it would draw
    bridges between separate groups of rows. The noise q is therefore a mixture of
    them, as in [2]_: first fitted to the rows, by class where `conditional`, as
    `LatentMixture` is, and then left as it is. The flow begins as the identity and
    bends what Gaussians cannot follow. On columns that take few values, integers say,
    the density grows without bound, and the flow spends itself on that: use
    `LatentMixture`, whose variances are bounded.

    Parameters
    ----------
    n_transforms : int, default=6
        Steps of the flow. Two see to every column once.
    hidden_sizes : tuple of int, default=(128, 128)
        Widths of the hidden layers of the network in each step.
    n_bins : int, default=8
        Pieces of each spline, at least 2.
    conditional : bool, default=False
        Learn p(x | y) of the discrete labels given to `fit`, two rows a class at
        least.
    average_decay : float, default=0.995
        Weight of the past in the running average of the flow that is kept, in [0, 1).
    learning_rate : float, default=1e-3
        Step size of Adam.
    schedule : str, default="cosine"
        Course of the learning rate over `max_epochs`: "constant", "cosine", "linear",
        "one_cycle", or "plateau", which halves it where the loss no longer falls.
    batch_size : int, default=256
        Rows in a step; fewer where there are fewer.
    max_epochs : int or None, default=None
        Passes through the data, at most. None is as many as make a step for every
        fourth row, but 300 steps at least and 5,000 at most, and 20 epochs at least.
    validation_fraction : float, default=0.1
        Share of the rows that are held out, in [0, 1): the flow of the epoch in which
        they are likeliest is kept. 0, or fewer than 2 rows, keeps the last flow.
    patience : int or None, default=None
        Epochs without likelier held-out rows after which training stops.
    tol : float, default=1e-4
        Share by which their loss has to fall to count as better.
    warm_start : bool, default=False
        Start `fit` from the fitted weights where there are any of the same shapes.
    max_time : float, default=None
        Seconds after which training stops, those for the noise not counted.
    precision : {"float32"}, default="float32"
        Logarithms of slopes need it.
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
        Seed of weights, split and batches in training.

    Attributes
    ----------
    flow_ : torch.nn.Module
        The averaged flow that held-out rows chose, on `device_`.
    history_ : History
        Mean `loss` and `validation_loss`, minus log-densities in nats of rows of
        variance 1 along the principal axes, of each epoch, and `seconds` since the
        start.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose flow was kept, from 1.
    classes_ : ndarray of shape (n_classes,)
        Labels, where conditional.
    class_prior_ : ndarray of shape (n_classes,), float64
        Share of each label in training, where conditional.
    mean_, scale_ : ndarray of shape (n_features,), float64
        Mean and standard deviation of the columns; constant columns have scale 0 and
        are sampled as the constant.
    device_ : str
        Where the network is.
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
    .. [1] C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, "Neural spline flows",
       NeurIPS 2019, arXiv:1906.04032, Eqs. (1), (4) and section 3. We differ in fixed
       principal axes where they learn linear maps, and in perceptrons without residual
       blocks.
    .. [2] P. Izmailov, P. Kirichenko, M. Finzi, A. Wilson, "Semi-supervised learning
       with normalizing flows", ICML 2020, arXiv:1912.13025, Eq. (1). We fit the mixture
       before the flow and without labels too.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import LatentNormalizingFlow
    >>> X = np.random.RandomState(0).standard_normal((500, 2)) * [1.0, 5.0]
    >>> flow = LatentNormalizingFlow(max_epochs=5, random_state=0).fit(X)
    >>> flow.sample(3, random_state=0).shape
    (3, 2)
    >>> flow.score_samples(X[:2]).dtype
    dtype('float64')
    """

    _networks = ("flow_",)
    flow_: SplineFlow

    def __init__(
        self,
        *,
        n_transforms: int = 6,
        hidden_sizes: Sequence[int] = (128, 128),
        n_bins: int = 8,
        conditional: bool = False,
        average_decay: float = 0.995,
        learning_rate: float = 1e-3,
        schedule: str = "cosine",
        batch_size: int = 256,
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
        self.n_transforms = n_transforms
        self.hidden_sizes = hidden_sizes
        self.n_bins = n_bins
        self.conditional = conditional
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

    def _check_parameters(self) -> None:
        check_int("n_transforms", self.n_transforms)
        check_int("n_bins", self.n_bins, 2)
        check_real("average_decay", self.average_decay, 0.0, 1.0, closed="left")
        check_choice("precision", self.precision, ("float32",))
        super()._check_parameters()

    def _default_steps(self, n_rows: int) -> int:
        return min(max(int(_STEPS_PER_ROW * n_rows), _STEPS[0]), _STEPS[1])

    def _set_units(self, rows: NDArray[Any]) -> None:
        super()._set_units(rows)
        units = standardize(rows, self.mean_, self.scale_)[:, self._modelled]
        self._forward, self._back = whitening_axes(units.astype(np.float64))
        most = min(len(rows) // (units.shape[1] + 1), _MOST_GAUSSIANS)
        self._n_gaussians = max(most, self._n_classes, 1)

    def _on_device(
        self, rows: NDArray[Any], codes: NDArray[np.int64] | None
    ) -> list[Tensor]:
        units, *labels = super()._on_device(rows, codes)
        return [units @ torch.from_numpy(self._forward).to(units), *labels]

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        with isolated_streams(seed):
            flow = SplineFlow(
                len(self._modelled),
                self._n_classes,
                self.n_transforms,
                self.hidden_sizes,
                self.n_bins,
                self._n_gaussians,
            )
        return {"flow_": flow}

    def _program(
        self, networks: dict[str, Any], n_held: int, rng: np.random.RandomState
    ) -> NormalizingFlowProgram:
        flow = networks["flow_"]
        return NormalizingFlowProgram(
            flow,
            copy.deepcopy(flow),
            make_optimizer("adam", flow.parameters(), self.learning_rate),
            self.average_decay,
        )

    def _train(
        self,
        program: NormalizingFlowProgram,
        train: list[Tensor],
        validation: list[Tensor] | None,
        rng: np.random.RandomState,
        checkpoint: Checkpoint | None,
    ) -> Outcome:
        if self._fitted_before() is None:
            noise = self._fit_noise(train, rng)
            program.flow.noise.set(*noise)
            program.average.noise.set(*noise)
        return super()._train(program, train, validation, rng, checkpoint)

    def _fit_noise(
        self, train: list[Tensor], rng: np.random.RandomState
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return weights by class, means and roots of the mixture that noise is."""
        rows, *labels = (part.cpu().numpy().astype(np.float64) for part in train)
        shares = labels[0] if labels else np.ones((len(rows), 1))
        lengths = np.linalg.norm(self._back, axis=1)
        most = self._n_gaussians // shares.shape[1]
        parts = [fit_mixture(rows[share > 0], lengths, most, rng) for share in shares.T]
        counts = [len(part.weights) for part in parts]
        weights = np.zeros((len(parts), sum(counts)))
        for place, part in enumerate(parts):
            start = sum(counts[:place])
            weights[place, start : start + counts[place]] = part.weights
        covariances = np.concatenate([part.covariances for part in parts])
        eye = np.eye(rows.shape[1])
        roots = [precision_root(covariance, eye) for covariance in covariances]
        means = np.concatenate([part.means for part in parts])
        return weights, means, np.array(roots)

    def _finish(
        self,
        program: NormalizingFlowProgram,
        outcome: Outcome,
        validation: list[Tensor] | None,
    ) -> None:
        self.flow_ = program.average

    def _sample_units(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float32]:
        flow, device = self._in_double()
        noise = flow.noise
        weights = noise.log_weights.exp().cpu().numpy()
        known = np.zeros(n_samples, dtype=np.int64) if codes is None else codes
        # a stream of its own, or the noise of a row would depend on n_samples
        chance = np.random.RandomState(draw_seed(rng)).random_sample(n_samples)
        width = len(self._modelled)
        inputs = drawn_rows(
            rng.standard_normal((n_samples, width)),
            chosen_components(chance, weights, known),
            noise.means.cpu().numpy(),
            noise.roots.cpu().numpy(),
        )
        if codes is not None:
            inputs = np.hstack([inputs, self._one_hot(codes)])
        wide = copy.copy(self)
        wide.flow_ = flow
        units = map_rows(
            lambda block: wide._draw_units(block[:, :width], [block[:, width:]]),
            inputs,
            device,
        )
        return units.astype(np.float32)

    def _draw_units(self, noise: Tensor, labels: list[Tensor]) -> Tensor:
        label = labels[0].to(noise) if labels else noise[:, :0]
        units: Tensor = self.flow_(noise, label) @ torch.from_numpy(self._back).to(
            noise
        )
        return units

    def _noise_for(
        self, n_rows: int, labels: list[Tensor], generator: torch.Generator
    ) -> Tensor:
        codes = torch.zeros(n_rows, dtype=torch.int64, device=generator.device)
        return self.flow_.noise.draw(
            labels[0].argmax(1) if labels else codes, generator
        )

    def _loss_of(
        self, units: Tensor, labels: list[Tensor], generator: torch.Generator
    ) -> Tensor:
        x = units.to(self.flow_.noise.means)
        label = labels[0].to(x) if labels else x[:, :0]
        x = x @ torch.from_numpy(self._forward).to(x)
        return -self.flow_.log_density(x, label).mean()

    def _to_train(self, device: str) -> Self:
        other = super()._to_train(device)
        if not device.startswith("mps"):  # which has no float64, see `in_double`
            other.flow_.double()
        return other

    def _in_double(self) -> tuple[SplineFlow, str]:
        """Return a copy of the flow in float64, and where it is: Metal has none."""
        device = "cpu" if self.device_.startswith("mps") else self.device_
        return copy.deepcopy(self.flow_).to(device).in_double(), device

    def _log_density(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        flow, device = self._in_double()
        axes = torch.tensor(self._forward.T.copy(), device=device)
        labels = torch.eye(self._n_classes, dtype=torch.float64, device=device)

        def nats_by_label(block: Tensor) -> Tensor:
            x = even_linear(block, axes, None)
            contexts = [label.expand(len(x), -1) for label in labels] or [x[:, :0]]
            return torch.stack([flow.log_density(x, each) for each in contexts], 1)

        nats = map_rows(nats_by_label, units, device)
        nats += np.log(getattr(self, "class_prior_", np.ones(1)))
        volume = float(np.linalg.slogdet(self._forward)[1])
        return np.logaddexp.reduce(nats, axis=1) + volume
